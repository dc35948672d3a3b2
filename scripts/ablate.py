#!/usr/bin/env python
"""Runs a table of experiments and writes one result table: python scripts/ablate.py TABLE.yaml [--jobs N]

  python scripts/ablate.py cfgs/ablation/core.yaml --jobs 2
  python scripts/ablate.py cfgs/ablation/core.yaml --only recon scratch --dry-run

Rows x pretraining seeds x downstream tasks x folds x fine-tuning seeds. What is done with the same settings,
checkpoint, data and code is kept, and nothing else; the command can be stopped and started again, and several of it may
work on one table. Writes table.csv, runs.csv, table.md, table.tex and table.json. The format: cfgs/ablation/README.md.
"""

import argparse
import functools
import sys
from pathlib import Path

from pointrecon.utils.program import Parser, exit_code


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("table", metavar="TABLE.yaml")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time, one thread each; default: GPUs or cores")
    parser.add_argument("--nice", type=int, default=10, metavar="N", help="politeness, 0 to 19 (default: 10)")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="these rows")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the runs and the tables")
    parser.add_argument("--dry-run", "--dry_run", action="store_true", help="run nothing: list the runs")
    parser.add_argument("--report", action="store_true", help="run nothing: the tables of what is done")
    parser.add_argument("--any-code", "--any_code", action="store_true", help="keep what other code has computed")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for all runs")
    return parser.parse_intermixed_args()


def main() -> int:
    """Runs what is missing, writes the tables and prints one."""
    args = parse()
    from pointrecon.tools.sweeps import execute
    from pointrecon.tools.sweeps.read_table import read_table
    from pointrecon.tools.sweeps.report import publish
    from pointrecon.tools.sweeps.table import collect, expand

    table = read_table(args.table, args.out, args.overrides)
    cells = expand(table, args.only)
    runs = [cell.run for cell in cells]
    execute.check_plan(runs)
    if args.dry_run:
        reasons = [execute.status(run, args.any_code) for run in runs]
        for run, reason in zip(runs, reasons, strict=True):
            print(f"{run.name}: {reason or 'done'}")
        print(f"{len(runs)} runs, {reasons.count(None)} of them done")
        return 0
    outcome = execute.Outcome()
    try:
        if not args.report:
            say = functools.partial(print, flush=True)
            options = execute.Options(args.jobs or execute.default_jobs(), args.nice, any_code=args.any_code, say=say)
            outcome = execute.run_all(runs, options)
    finally:
        found = collect(expand(table), args.any_code)  # all rows, whatever was run now
        if found[0]:
            report, paths = publish(found, table.compare, table.report or table.out, sys.argv)
            print(f"\n{report}\n", *paths, sep="\n")
    outcome.check()
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
