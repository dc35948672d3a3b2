"""python -m pointrecon.tools.predict embed|classify|search|reconstruct|export ..."""

import sys

from pointrecon.tools.predict.command import main

if __name__ == "__main__":
    sys.exit(main())
