#!/usr/bin/env python
"""Repeats a config over seeds or folds and prints mean, standard deviation and each run.

  python scripts/run_seeds.py --config cfgs/full/finetune_scan_hardest.yaml --seeds 0 1 2 --ckpts P
  python scripts/run_seeds.py --config cfgs/full/fewshot.yaml --folds 10 --way 5 --shot 10 --ckpts P

Everything that is not listed below goes to main.py. Finished runs are kept, so the command can be started again.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools import cli  # noqa: E402  (needs the path above)
from tools.repeat import format_summary, plan, run_all, write_summary  # noqa: E402
from utils.errors import InputError  # noqa: E402


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Runs them and writes <run folder's parent>/<exp_name>.json."""
    from tools.context import run_folder
    from utils.config import load_config

    arguments = ["--config", args.config, *rest]
    flags = cli.parse(arguments)
    cfg = load_config(args.config, cli.to_overrides(flags))
    cli.check(flags, cfg)
    repeats = plan(args.exp_name, args.seeds, args.folds)
    results = run_all(
        repeats,
        lambda name: run_folder(cfg.output_root, args.config, name),
        arguments,
        args.processes,
        args.overwrite,
    )
    path = run_folder(cfg.output_root, args.config, args.exp_name).with_suffix(".json")
    print(f"\n{len(repeats)} runs of {args.config}, mean ± standard deviation (each); {path}")
    print(format_summary(write_summary(path, results)))


def main() -> int:
    """Returns the exit code: 0 done, 2 bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", required=True, metavar="CFG")
    parser.add_argument("--exp_name", default="repeated", help="first part of the run folders' names")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N")
    parser.add_argument("--folds", type=int, metavar="N", help="folds 0 .. N-1, as in few-shot recognition")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="of each run, by torchrun")
    parser.add_argument("--overwrite", action="store_true", help="do finished runs again")
    args, rest = parser.parse_known_args()
    try:
        run(args, rest)
    except InputError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
