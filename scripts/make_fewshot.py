#!/usr/bin/env python
"""Draws the few-shot folds of ModelNet40: python scripts/make_fewshot.py [--data_root data] [--seed 0]

Four settings (5 or 10 classes, 10 or 20 labelled objects of each, 20 test objects of each) with ten folds each, about
1 GB, in the layout that published code reads too. The same seed draws the same folds.
"""

import argparse
import sys
from pathlib import Path

from pointrecon.utils.program import Parser, exit_code

ROOT = Path(__file__).resolve().parent.parent


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_root", default=str(ROOT / "data"), help="folder that has ModelNet40 in it")
    parser.add_argument("--out", help="folder for the settings; default: <data_root>/ModelNetFewshot")
    parser.add_argument("--ways", type=int, nargs="+", default=[5, 10], help="numbers of classes")
    parser.add_argument("--shots", type=int, nargs="+", default=[10, 20], help="labelled objects a class")
    parser.add_argument("--folds", type=int, default=10, help="draws a setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--source", default="auto", help="form of the ModelNet40 files: auto, dat, txt, hdf5")
    parser.add_argument("--num_stored", type=int, default=8192, help="points an object of the forms dat and txt")
    return parser.parse_args()


def main() -> None:
    """Draws what the command line asks for."""
    args = parse()
    from pointrecon.datasets.modelnet.fewshot import make_folds

    settings = [(way, shots) for way in args.ways for shots in args.shots]
    paths = make_folds(args.data_root, args.out, settings, args.folds, args.seed, args.source, args.num_stored)
    print(f"{len(paths)} folds in '{paths[0].parent.parent}'" if paths else "no fold was asked for")


if __name__ == "__main__":
    sys.exit(exit_code(main))
