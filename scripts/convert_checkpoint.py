#!/usr/bin/env python
"""Converts a checkpoint: python scripts/convert_checkpoint.py IN OUT [--to NAMES] [--half] [--overwrite]

IN may be this project's, a published one or a .safetensors file; it is recognised by its keys. With an OUT that ends
in .safetensors the weights become such a file, with the config in its metadata. Exit code: 0 done, 2 bad input.
"""

import argparse
import sys
from pathlib import Path

from pointrecon.tools.checkpoints.convert import TARGETS, convert
from pointrecon.utils.program import Parser, exit_code


def main() -> None:
    """Converts what the command line names."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("source", metavar="IN", type=Path, help="checkpoint to read")
    parser.add_argument("target", metavar="OUT", type=Path, help="file to write")
    parser.add_argument("--to", default="ours", help=f"key names: {' or '.join(TARGETS)} (ours, in safetensors)")
    parser.add_argument("--half", action="store_true", help="matrices in half precision: half the size")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    args = parser.parse_args()
    print(convert(args.source, args.target, args.to, args.overwrite, args.half))


if __name__ == "__main__":
    sys.exit(exit_code(main))
