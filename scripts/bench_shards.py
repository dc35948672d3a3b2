#!/usr/bin/env python
"""Measures reading from shards: python scripts/bench_shards.py --folder DIR [--json .github/bench/shards_cpu.json]

Generates shapes of 256 points (50,000, 100,000 and 200,000 by default, 2 GB), then reads an epoch of each in one
process and of the largest in several: seconds, shapes a second, memory at a tenth and at the end of the epoch.
"""

import argparse
import sys
from pathlib import Path

from pointrecon.utils.program import Parser, exit_code


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="for the generated shards")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 100_000, 200_000], help="numbers of shapes")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="how many read at the same time")
    parser.add_argument("--json", help="file for the result")
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Measures, prints and writes."""
    from pointrecon.tools.bench_shards import bench
    from pointrecon.utils.files.io import write_json

    result = bench(Path(args.folder), args.sizes, args.processes, sys.argv)
    for line in (*result["epochs"], *result["processes"]):
        print(line)
    if args.json:
        write_json(result, args.json)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse())))
