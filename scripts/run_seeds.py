#!/usr/bin/env python
"""Repeats a config over seeds or folds and prints mean, standard deviation, 95 % interval and each run.

  python scripts/run_seeds.py --config cfgs/full/finetune_scan_hardest.yaml --seeds 0 1 2 --ckpts P
  python scripts/run_seeds.py --config cfgs/full/fewshot.yaml --folds 10 --way 5 --shot 10 --ckpts P
  python scripts/run_seeds.py --config CFG --folds 5 --ckpts "experiments/pretrain/quickstart/f{fold}/ckpt-last.pth"

Everything that is not listed below goes to main.py; `{seed}` and `{fold}` in the path of a checkpoint are replaced. A
run that was finished with the same settings, checkpoint, data and code is kept, so the command can be started again.
"""

import argparse
import functools
import sys

from pointrecon.utils.program import Parser, exit_code


def parse() -> tuple[argparse.Namespace, list[str]]:
    """Reads the command line: what is listed, and what goes to main.py."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--config", required=True, metavar="CFG")
    parser.add_argument("--exp_name", default="repeated", help="first part of the run folders' names")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N")
    parser.add_argument("--folds", type=int, metavar="N", help="folds 0 .. N-1, as in few-shot recognition")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time, one thread each if above 1")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="of each run, by torchrun")
    parser.add_argument("--overwrite", action="store_true", help="do finished runs again")
    parser.add_argument("--any_code", action="store_true", help="keep what another version of the code has computed")
    return parser.parse_known_args()


def main() -> None:
    """Makes the runs and writes <run folder's parent>/<exp_name>.json, .csv, .md and .tex."""
    args, rest = parse()
    from pointrecon.tools.sweeps import repeat
    from pointrecon.tools.sweeps.execute import Options, run_all
    from pointrecon.tools.sweeps.work import LOUD, PREFIXED

    planned = repeat.plan(
        args.config,
        args.exp_name,
        rest,
        seeds=args.seeds,
        num_folds=args.folds,
        num_threads=1 if args.jobs > 1 else 0,
        num_processes=args.processes,
    )
    runs = [run for run, _, _ in planned]
    echo, say = LOUD if args.jobs == 1 else PREFIXED, functools.partial(print, flush=True)
    run_all(runs, Options(args.jobs, 0, echo, args.any_code, args.overwrite, say)).check()
    path = runs[0].folder().with_name(f"{args.exp_name}.json")
    places = [(seed, fold) for _, seed, fold in planned]
    summary = repeat.write_summary(path, repeat.read_results(runs), places)
    print(f"\n{len(runs)} runs of {args.config}, mean ± standard deviation (each); {path}")
    print(repeat.format_summary(summary))


if __name__ == "__main__":
    sys.exit(exit_code(main))
