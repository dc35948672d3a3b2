"""Draws the pictures of a run again: python -m pointrecon.tools.visualize RUN_FOLDER [--against RUN_FOLDER ...]"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pointrecon.tools.visualize import FORMATS, draw_folder
from pointrecon.utils.program import Parser, exit_code


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser("python -m pointrecon.tools.visualize", description="Draws the pictures of a run again.")
    parser.add_argument("folder", type=Path, metavar="RUN_FOLDER", help="pictures go into its figures/")
    parser.add_argument(
        "--against", type=Path, nargs="+", default=[], metavar="RUN_FOLDER", help="runs whose curves are drawn with it"
    )
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="of the files (default: %(default)s)")
    parser.add_argument("--untitled", action="store_true", help="no titles in the pictures, for papers")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 2 bad input."""
    return exit_code(lambda: draw(parse(argv)))


def draw(args: argparse.Namespace) -> None:
    """Draws, and says which files it wrote."""
    pictures = draw_folder(args.folder, args.against, kind=args.format, has_title=not args.untitled)
    sys.stdout.writelines(f"{picture}\n" for picture in pictures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
