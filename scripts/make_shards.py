#!/usr/bin/env python
"""Writes a data set into shards: python scripts/make_shards.py --config CFG --out DIR [--shard_size N] [key=value ...]

Shards are tar files in WebDataset's layout with the points and the cached features of the config's teachers. Train from
them with cfgs/pretrain/shards.yaml. A call that was interrupted goes on where it stopped if it is repeated.
"""

import argparse
import sys
from pathlib import Path

from pointrecon.utils.program import Parser, exit_code

ROOT = Path(__file__).resolve().parent.parent


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file that names the data set and the teachers")
    parser.add_argument("--out", required=True, help="folder; <data_root>/shards is where data.type=Shards looks")
    parser.add_argument("--shard_size", type=int, default=1000, help="samples of a shard")
    parser.add_argument("--splits", nargs="+", default=["pretrain", "test"], help="which splits to write")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the config")
    return parser.parse_intermixed_args()


def run(args: argparse.Namespace) -> None:
    """Writes the shards."""
    from pointrecon.tools.shards import make_shards
    from pointrecon.utils.config import load_config

    counts = make_shards(load_config(args.config, args.overrides), Path(args.out), args.splits, args.shard_size)
    for split, count in counts.items():
        print(f"{Path(args.out) / split}: {count} samples")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse())))
