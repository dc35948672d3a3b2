#!/usr/bin/env python
"""Measures how many cached views of a picture are enough, on the bundled data.

  python scripts/bench_views.py --views 1 2 4 8 16 live --seeds 0 1 2 --jobs 2 --json views.json [key=value ...]

For each number of views and each seed: pretraining, SVM probe and zero-shot, by the quickstart's configs; key=value
goes to the pretraining. `live` shows the teacher a new view in every step. Finished runs are kept, so the command can
be started again. Needs: pip install -e '.[teachers]'
"""

import argparse
import sys
from pathlib import Path

from pointrecon.utils.program import Parser, exit_code

ROOT = Path(__file__).resolve().parent.parent


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", nargs="+", default=["1", "2", "4", "8", "16", "live"], metavar="K")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="runs side by side, each on one thread")
    parser.add_argument("--out", type=Path, default=ROOT / "experiments" / "bench_views", help="folder of the runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: views.json in that folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_intermixed_args()
    if args.jobs < 1:
        parser.error(f"--jobs is {args.jobs}, but must be at least 1")
    return args


def main() -> None:
    """Makes the runs, prints the table and writes the JSON file."""
    args = parse()
    from pointrecon.tools.bench_views import ViewsBench, format_table, summarize, write_report

    bench = ViewsBench(args.views, args.seeds, args.overrides, args.out)
    records = bench.run(args.jobs)
    path = args.json or args.out / "views.json"
    write_report(path, records, bench, sys.argv)
    print(f"\n{format_table(summarize(records), len(args.seeds))}\n\n{path}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
