#!/usr/bin/env python
"""Makes data sets, of your own shapes too: python scripts/prepare_data.py KIND [options]; --help lists the kinds."""

import sys

from pointrecon.tools.prepare.command import run
from pointrecon.utils.program import exit_code

if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(sys.argv[1:])))
