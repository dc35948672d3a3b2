#!/usr/bin/env python
"""OpenShape's training data into shards without pickles: python scripts/convert_openshape.py FOLDER --out DIR

FOLDER holds the downloaded tar files (Objaverse/000-000.tar.gz, ..., ShapeNet.tar.gz) or what they unpack to. Nothing
in them is run: only arrays and plain containers are read. A call that was interrupted goes on with the next source; an
object that cannot be used ends it (exit code 2), or is skipped and counted with --skip-bad.
"""

import argparse
import sys
import time
from pathlib import Path

from pointrecon.datasets.open.neighbours import write_neighbours
from pointrecon.datasets.open.shards import OpenShards
from pointrecon.tools.open.convert import SHARD_SIZE, convert
from pointrecon.utils.program import Parser, exit_code


def main() -> int:
    """Returns the exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes; a tar file is one process's")
    parser.add_argument("--shard-size", type=int, default=SHARD_SIZE, metavar="N")
    parser.add_argument("--skip-bad", action="store_true", help="skip and count objects that cannot be used")
    parser.add_argument(
        "--neighbours",
        type=Path,
        metavar="FILE",
        help="point_feat_knn.npy: write its neighbours beside the shards, too",
    )
    args = parser.parse_args()
    start = time.perf_counter()
    made = convert(args.folder, args.out, jobs=args.jobs, shard_size=args.shard_size, is_lenient=args.skip_bad)
    seconds, counts = time.perf_counter() - start, made["counts"]
    size = sum(shard["bytes"] for shard in made["shards"])
    print(
        f"{counts.get('objects', 0):,} objects in {len(made['shards'])} shards, {size / 1e6:,.1f} MB, features "
        f"{made['width']} wide; {counts.get('without_text', 0):,} without text, "
        f"{sum(made['skipped'].values()):,} skipped; {seconds:.1f} s"
    )
    for reason, count in made["skipped"].items():
        print(f"skipped {count:,}: {reason}")
    if args.neighbours is not None:
        print(f"{write_neighbours(args.neighbours, OpenShards(args.out)):,} objects have neighbours")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
