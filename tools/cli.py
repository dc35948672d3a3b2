"""The command line: flags -> config overrides. Nothing below this file knows a flag.

Imports the standard library only, so that --help answers at once.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from pointrecon.utils.errors import InputError, closest
from pointrecon.utils.program import Parser

DESCRIPTION = "Pretrain, fine-tune, probe and test ReCon: one YAML file says everything about a run."
EPILOG = """examples:
  python main.py --config cfgs/quickstart/pretrain.yaml --exp_name first
  python main.py --config cfgs/full/finetune_modelnet.yaml --ckpts ckpt-last.pth optim.lr=2e-5 epochs=100
  torchrun --nproc_per_node=4 main.py --config cfgs/pretrain/base.yaml

Every key that a config may have is in cfgs/_base_, with its default and what it means."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line.

    Args:
        argv: The arguments after the program's name.

    Returns:
        The flags, and in `overrides` the texts `a.b=value`.

    Raises:
        InputError: An unknown flag, a bad value, or flags that exclude each other.
    """
    parser = _make_parser()
    # The overrides are taken from the rest: argparse gives up on positional arguments that stand between flags.
    args, rest = parser.parse_known_args(argv)
    for item in rest:
        if item.startswith("-"):
            flag = item.split("=")[0]
            match = closest(flag, parser._option_string_actions)
            hint = f"did you mean '{match}'?" if match else "python main.py --help lists all flags"
            raise InputError(f"unknown flag '{flag}'; {hint}")
        if "=" not in item:
            raise InputError(f"'{item}' is neither a flag nor an override; write key=value, such as optim.lr=1e-3")
    args.overrides = rest
    if args.config is None and not args.check_data:
        raise InputError("--config is missing; give a file, such as --config cfgs/quickstart/pretrain.yaml")
    if args.launcher == "pytorch" and "WORLD_SIZE" not in os.environ:
        raise InputError("--launcher pytorch needs torchrun; start with torchrun --nproc_per_node=N main.py ...")
    weights = [flag for flag in ("ckpts", "start_ckpts", "scratch_model") if getattr(args, flag)]
    if len(weights) > 1:
        raise InputError(f"--{weights[0]} and --{weights[1]} exclude each other; give one of them")
    return args


def to_overrides(args: argparse.Namespace) -> list[str]:
    """Translates the flags into config overrides; the free ones come last, so they win."""
    changes: dict[str, Any] = {
        "init": args.ckpts or args.start_ckpts,
        "resume": args.resume or None,
        "epochs": 0 if args.test or args.svm or args.zeroshot else None,
        "num_votes": 10 if args.vote else None,
        "data.way": args.way,
        "data.shots": args.shot,
        "data.fold": args.fold,
        "seed": args.seed,
        "deterministic": args.deterministic or None,
        "sync_bn": args.sync_bn or None,
        "num_workers": args.num_workers,
        "eval_every": args.val_freq,
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items() if value is not None]
    if args.scratch_model:
        overrides.append("init=null")
    return overrides + args.overrides


def check(args: argparse.Namespace, cfg: Mapping[str, Any]) -> None:
    """Refuses flags that the config contradicts.

    Raises:
        InputError: A flag that needs a checkpoint, and there is none.
    """
    for flag in ("finetune_model", "test"):
        if getattr(args, flag) and not cfg["init"] and not cfg["resume"]:
            raise InputError(f"--{flag} needs a checkpoint; give --ckpts PATH")


def _make_parser() -> Parser:
    parser = Parser(
        prog="main.py",
        usage="python main.py --config CFG [--exp_name NAME] [flags] [key=value ...]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    run = parser.add_argument_group("the run")
    run.add_argument("--config", metavar="CFG", help="YAML file that says what to do")
    run.add_argument("--exp_name", metavar="NAME", default="default", help="name of the run folder (default: default)")
    run.add_argument("--resume", action="store_true", help="go on from ckpt-last.pth of the run folder")
    run.add_argument("--overwrite", action="store_true", help="start anew in the folder of an earlier run")
    run.add_argument("--seed", type=int, metavar="N", help="seed of everything that is drawn at random")
    run.add_argument("--deterministic", action="store_true", help="only operations that repeat bit for bit")
    run.add_argument("--num_workers", type=int, metavar="N", help="processes that load data")
    run.add_argument("--val_freq", type=int, metavar="N", help="epochs between two evaluations")

    weights = parser.add_argument_group("weights")
    weights.add_argument("--ckpts", metavar="PATH", help="checkpoint to take weights from")
    weights.add_argument("--start_ckpts", metavar="PATH", help="the same, as pretraining calls it")
    weights.add_argument("--finetune_model", action="store_true", help="insist on a checkpoint")
    weights.add_argument("--scratch_model", action="store_true", help="random weights, whatever the config says")

    mode = parser.add_argument_group("what is done")
    mode.add_argument("--test", action="store_true", help="evaluate a checkpoint, train nothing")
    mode.add_argument("--svm", action="store_true", help="train nothing; for the configs in cfgs/svm")
    mode.add_argument("--zeroshot", action="store_true", help="train nothing; for the configs in cfgs/zeroshot")
    mode.add_argument("--vote", action="store_true", help="average 10 forward passes for each test shape")
    mode.add_argument(
        "--check-data",
        "--check_data",
        action="store_true",
        help="say which data sets are in data_root, whole or not, and where to get them; needs no --config; "
        "exit code 0 whatever is missing",
    )
    mode.add_argument("--way", type=int, metavar="N", help="few-shot: number of classes")
    mode.add_argument("--shot", type=int, metavar="N", help="few-shot: labelled shapes a class")
    mode.add_argument("--fold", type=int, metavar="N", help="which fold of the data, from 0")

    parallel = parser.add_argument_group("several GPUs (torchrun --nproc_per_node=N main.py ...)")
    parallel.add_argument("--sync_bn", action="store_true", help="batch-norm statistics over all processes")
    parallel.add_argument("--launcher", choices=("none", "pytorch"), default="none", help="pytorch: insist on torchrun")
    parallel.add_argument("--local_rank", "--local-rank", type=int, help="ignored: torchrun says it in the environment")
    return parser
