#!/usr/bin/env python
"""Repeats a config over seeds or folds and prints mean, standard deviation and each run.

  python scripts/run_seeds.py --config cfgs/full/finetune_scan_hardest.yaml --seeds 0 1 2 --ckpts P
  python scripts/run_seeds.py --config cfgs/full/fewshot.yaml --folds 10 --way 5 --shot 10 --ckpts P

Everything that is not listed below goes to main.py. Finished runs are kept, so the command can be started again.
"""

import argparse
import sys
from pathlib import Path

from pointrecon.tools import cli
from pointrecon.tools.sweeps.repeat import format_summary, plan, run_all, write_summary
from pointrecon.utils.program import Parser, exit_code

ROOT = Path(__file__).resolve().parent.parent


def parse() -> tuple[argparse.Namespace, list[str]]:
    """Reads the command line: what is listed, and what goes to main.py."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--config", required=True, metavar="CFG")
    parser.add_argument("--exp_name", default="repeated", help="first part of the run folders' names")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N")
    parser.add_argument("--folds", type=int, metavar="N", help="folds 0 .. N-1, as in few-shot recognition")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="of each run, by torchrun")
    parser.add_argument("--overwrite", action="store_true", help="do finished runs again")
    return parser.parse_known_args()


def main() -> None:
    """Makes the runs and writes <run folder's parent>/<exp_name>.json."""
    args, rest = parse()
    from pointrecon.tools.context import run_folder
    from pointrecon.utils.config import load_config

    arguments = ["--config", args.config, *rest]
    flags = cli.parse(arguments)
    cfg = load_config(args.config, cli.to_overrides(flags))
    cli.check(flags, cfg)
    repeats = plan(args.exp_name, args.seeds, args.folds)
    folder_of = lambda name: run_folder(cfg.output_root, args.config, name)  # noqa: E731
    results = run_all(repeats, folder_of, arguments, args.processes, args.overwrite)
    path = folder_of(args.exp_name).with_suffix(".json")
    print(f"\n{len(repeats)} runs of {args.config}, mean ± standard deviation (each); {path}")
    print(format_summary(write_summary(path, results)))


if __name__ == "__main__":
    sys.exit(exit_code(main))
