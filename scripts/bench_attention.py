#!/usr/bin/env python
"""Times attention on the CPU against torch's own: python scripts/bench_attention.py [--repeats 9] [--json FILE]

The number of threads is torch's: OMP_NUM_THREADS sets it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.program import Parser, exit_code  # noqa: E402  (needs the path above)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="measurements of each; their median counts")
    parser.add_argument("--json", help="file for everything that was measured")
    return parser.parse_args()


def main() -> None:
    """Measures and prints."""
    args = parse()
    from tools.bench_attention import bench, table
    from utils.io import write_json

    result = bench(args.repeats, sys.argv)
    if args.json:
        write_json(result, args.json)
    print(f"{result['environment']['device_name']}, {result['environment']['threads']} threads")
    print(table(result))


if __name__ == "__main__":
    sys.exit(exit_code(main))
