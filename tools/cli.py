"""The command line: flags -> config overrides. Nothing below this file knows a flag, but for the checks in startup/.

Imports the standard library only, so that --help answers at once.
"""

import argparse
import itertools
import json
import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

from pointrecon.utils.errors import InputError, closest
from pointrecon.utils.program import Parser

DESCRIPTION = "Pretrain, fine-tune, probe and test ReCon: one YAML file says everything about a run."
EPILOG = """examples:
  python main.py --config cfgs/quickstart/pretrain.yaml --exp_name first
  python main.py --config cfgs/full/finetune_modelnet.yaml --ckpts ckpt-last.pth optim.lr=2e-5 epochs=100
  torchrun --nproc_per_node=4 main.py --config cfgs/pretrain/base.yaml

Every key that a config may have is in cfgs/_base_, with its default, its range and what it means."""

LISTS = ("datasets", "teachers", "evaluators", "tasks", "models", "blocks")

# What other programs of the field call things -> a key or a flag.
ALIASES = {
    "learning_rate": "optim.lr",
    "blr": "optim.lr",
    "wd": "optim.weight_decay",
    "bs": "batch_size",
    "total_bs": "batch_size",
    "max_epoch": "epochs",
    "num_epochs": "epochs",
    "npoints": "data.num_points",
    "num_point": "data.num_points",
    "workers": "num_workers",
    "warmup": "optim.warmup_epochs",
    "warmup_epoch": "optim.warmup_epochs",
    "clip_grad": "optim.grad_clip",
    "max_grad_norm": "optim.grad_clip",
    "optimizer": "optim.type",
    "drop_path_rate": "model.drop_path",
    "smoothing": "classifier.label_smoothing",
    "accum_iter": "accum_steps",
    "fp16": "precision",
    "bf16": "precision",
    "gpu": "device",
    "gpus": "device",
    "dataset": "data.type",
    "data_path": "data_root",
    "output_dir": "output_root",
    "amp": "precision",
    "checkpoint": "--ckpts",
    "pretrained": "--ckpts",
    "finetune": "--ckpts",
    "eval": "--test",
    "evaluate": "--test",
    "name": "--exp_name",
    "experiment": "--exp_name",
    "cfg": "--config",
}


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
    for number, item in enumerate(rest):
        if item.startswith("-"):
            raise InputError(_explain_flag(parser, item, rest[number + 1 :]))
        if "=" not in item:
            raise InputError(f"'{item:.200}' is neither a flag nor an override; write key=value, such as optim.lr=1e-3")
    args.overrides = rest
    if args.config is None and not args.check_data and not args.list:
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
        overrides += ["init=null", "start=random"]
    return overrides + args.overrides


def _explain_flag(parser: Parser, item: str, rest: Sequence[str]) -> str:
    """What to write instead of a flag that there is not: most of those that people try are keys of the config."""
    from pointrecon.utils.config import load_schema

    flag, sign, value = item.partition("=")
    word = flag.lstrip("-").replace("-", "_")[:100]
    start, schema = f"unknown flag '{flag:.100}'; ", load_schema()
    keys, flags = schema.keys(), {name.lstrip("-"): name for name in parser._option_string_actions}
    target = ALIASES.get(word.lower())
    tree: dict[str, Any] = {}
    for part in reversed((target or word).split(".")):
        tree = {part: tree}
    places = [target or word] if schema.known(tree) == tree else schema.places_of(word)
    is_guess = not places and target is None
    if is_guess:
        near = closest(word, [*flags, *(keys if "." in word else [key.rpartition(".")[2] for key in keys])])
        target = flags.get(near or "")
        places = [near] if near in keys else schema.places_of(near or "")
    places = [_first_key(place, keys) for place in places]
    if target in flags.values() or not places:
        return start + (f"did you mean '{target}'?" if target else "python main.py --help lists all flags")
    if not sign:
        value = rest[0] if rest and "=" not in rest[0] and not rest[0].startswith("--") else "VALUE"
    if places == ["device"]:
        # Several GPUs are numbers in a row or between commas.
        numbers = re.findall(r"\d+", value if sign else " ".join(itertools.takewhile(str.isdigit, rest)) or value)
        if len(numbers) > 1:
            devices = ",".join(numbers)
            return f"{start}for several GPUs start with CUDA_VISIBLE_DEVICES={devices} torchrun " + (
                f"--nproc_per_node={len(numbers)} main.py ..."
            )
        value = f"cuda:{value}" if value.isdigit() else value
    written = " or ".join(shlex.quote(f"{key}={value}") for key in places)
    if is_guess:
        return f"{start}did you mean {' or '.join(map(repr, places))} of the config? Then write {written}"
    said = f"'{places[0]}' is a key" if len(places) == 1 else f"'{word}' names keys"
    return f"{start}{said} of the config: write {written}"


def _first_key(place: str, keys: Sequence[str]) -> str:
    """A key itself; of a section, the first key in it, which is its type where it has one."""
    inside = next((key for key in keys if key.startswith(f"{place}.") and "<" not in key), None)
    return place if inside is None else _first_key(inside, keys)


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
    mode.add_argument("--way", type=int, metavar="N", help="few-shot: number of classes")
    mode.add_argument("--shot", type=int, metavar="N", help="few-shot: labelled shapes a class")
    mode.add_argument("--fold", type=int, metavar="N", help="which fold of the data, from 0")

    look = parser.add_argument_group("looking, without a run")
    look.add_argument(
        "--print-config",
        "--print_config",
        action="store_true",
        help="write what the config resolves to, and where each value comes from; reads no data",
    )
    look.add_argument("--list", choices=LISTS, metavar="KIND", help=f"names and their options: {', '.join(LISTS)}")
    look.add_argument(
        "--check-data",
        "--check_data",
        action="store_true",
        help="say which data sets are in data_root, whole or not, and where to get them; needs no --config; "
        "exit code 0 whatever is missing",
    )

    parallel = parser.add_argument_group("several GPUs (torchrun --nproc_per_node=N main.py ...)")
    parallel.add_argument("--sync_bn", action="store_true", help="batch-norm statistics over all processes")
    parallel.add_argument("--launcher", choices=("none", "pytorch"), default="none", help="pytorch: insist on torchrun")
    parallel.add_argument("--local_rank", "--local-rank", type=int, help="ignored: torchrun says it in the environment")
    return parser
