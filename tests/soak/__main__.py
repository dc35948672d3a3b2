"""python -m tests.soak: what `scripts/soak.sh` starts."""

import sys

from pointrecon.utils.program import exit_code
from tests.soak.soak import main

if __name__ == "__main__":
    sys.exit(exit_code(main))
