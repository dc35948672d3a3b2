#!/usr/bin/env python
"""Makes data sets: python scripts/prepare_data.py folder | pack | render | sweethome3d | debshapes | fewshot | shards."""

import sys

from pointrecon.tools.prepare.command import run
from pointrecon.utils.program import exit_code

if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(sys.argv[1:])))
