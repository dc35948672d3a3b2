#!/usr/bin/env python
"""Says what pretraining is worth: probes and fine-tunes networks on every fold with every seed, compared in pairs.

  python scripts/compare_pretraining.py --ckpt debshapes=experiments/debshapes/quickstart/E/ckpt-last.pth
  python scripts/compare_pretraining.py --ckpt A=PATH --ckpt "B=experiments/pretrain/quickstart/f{fold}/ckpt-last.pth"

Each network is compared with random weights (linear SVM on frozen features) and with training from scratch
(fine-tuning), with all labels and with 5 a class. A network must not have been pretrained on the test objects of the
fold: `{fold}` in a path stands for its number, `{seed}` for the seed. Further key=value go to every run. A table of
other rows or tasks: scripts/ablate.py.
"""

import argparse
import functools
import sys
from pathlib import Path

from pointrecon.utils.program import Parser, exit_code

ROOT = Path(__file__).resolve().parent.parent


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", action="append", default=[], metavar="NAME=PATH", help="a network; may be repeated")
    parser.add_argument(
        "--configs", type=Path, default=ROOT / "cfgs/quickstart", metavar="DIR", help="svm, finetune, scratch"
    )
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2, 3, 4], metavar="N")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time, one thread each")
    parser.add_argument("--name", default="compare", help="first part of the run folders' names")
    parser.add_argument("--report", action="store_true", help="run nothing: say what has been finished so far")
    parser.add_argument("--any_code", action="store_true", help="keep what another version of the code has computed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where all numbers go")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    return parser.parse_intermixed_args()


def main() -> None:
    """Makes the runs that are missing and prints the tables."""
    args = parse()
    import torch

    from pointrecon.tools.environment import describe_environment
    from pointrecon.tools.sweeps import execute, report
    from pointrecon.tools.sweeps.table import collect, compare_networks, expand
    from pointrecon.utils.errors import InputError
    from pointrecon.utils.files.io import write_json

    wrong = [text for text in args.ckpt if not all(text.partition("="))]
    if wrong:
        raise InputError(f"--ckpt is '{wrong[0]}', but must be NAME=PATH")
    networks = {name: path for name, _, path in (text.partition("=") for text in args.ckpt)}
    table = compare_networks(
        networks, folds=args.folds, seeds=args.seeds, configs=args.configs, overrides=args.overrides, name=args.name
    )
    cells = expand(table)
    outcome = execute.Outcome()
    if not args.report:
        options = execute.Options(args.jobs, any_code=args.any_code, say=functools.partial(print, flush=True))
        outcome = execute.run_all([cell.run for cell in cells], options)
    records, costs, missing = collect(cells, args.any_code)
    result = report.make_report(records, table.compare, costs, missing)
    if args.json:
        facts = {"environment": describe_environment(torch.device("cpu"), sys.argv), "networks": networks}
        write_json({**facts, **report.to_json(result)}, args.json)
    print(report.format_markdown(result))
    outcome.check()


if __name__ == "__main__":
    sys.exit(exit_code(main))
