"""Refuses what a command line and its config say when they contradict each other, before anything is built."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pointrecon.tools.settings import Settings
from pointrecon.utils.errors import InputError, closest

# Flag -> (type of the evaluator that it is for, folder of the configs that have it).
PROBES = {"svm": ("svm", "cfgs/svm"), "zeroshot": ("zero_shot", "cfgs/zeroshot")}
OWN_NAMES = {"loss": ("chamfer", "contrast"), "model.queries": ("cls",)}  # without a teacher
VOTING_TASKS = ("classify", "segment")


def check(args: argparse.Namespace, cfg: Settings) -> None:
    """Refuses flags that the config contradicts, and a config that lacks what it needs.

    Args:
        args: What `cli.parse` returns.
        cfg: The whole config.

    Raises:
        InputError: A flag that would do nothing, or a checkpoint that is missing or not wanted.
    """
    for flag in ("finetune_model", "test"):
        if getattr(args, flag) and not cfg["init"] and not cfg["resume"]:
            raise InputError(f"--{flag} needs a checkpoint; give --ckpts PATH")
    for flag, (kind, folder) in PROBES.items():
        if getattr(args, flag) and kind not in evaluator_types(cfg["evaluators"]):
            raise InputError(
                f"--{flag} is for configs with {kind} among their evaluators, but '{args.config}' has "
                f"{', '.join(evaluator_types(cfg['evaluators'])) or 'none'}; give one of those in {folder}, or add "
                f"evaluators.{kind}={{}}"
            )
    if args.vote and cfg["task"] in ("pretrain", "evaluate"):
        raise InputError(
            f"--vote averages predictions of a classifier or a segmenter, but '{args.config}' has task={cfg['task']}; "
            f"leave it out, or give a config of {' or '.join(VOTING_TASKS)}"
        )
    check_names(cfg)
    check_start(cfg, args.config)


def check_names(cfg: Settings) -> None:
    """Holds the names of `loss` and `model.queries` against those of the teachers: a mistyped one would do nothing.

    Args:
        cfg: The whole config.

    Raises:
        InputError: A loss or queries of a teacher that there is none of.
    """
    if ":" in cfg["model"]["type"]:  # what a network of somebody else's reads is not known here
        return
    teachers: Mapping[str, Any] = cfg["teachers"]
    for section, names in (("loss", cfg["loss"]), ("model.queries", cfg["model"]["queries"])):
        known = [*teachers, *OWN_NAMES[section]]
        for name in names:
            if name not in known:
                match = closest(str(name), known)
                hint = f"did you mean '{match}'?" if match else f"there are: {', '.join(known)}"
                raise InputError(f"{section} has '{name}', but there is no teacher of that name; {hint}")


def check_start(cfg: Settings, config: str) -> None:
    """Holds `init` against what `start` asks for.

    Args:
        cfg: The whole config.
        config: Its path.

    Raises:
        InputError: A checkpoint that is missing, or one that is not wanted.
    """
    if cfg["resume"]:
        return
    if cfg["start"] == "checkpoint" and not cfg["init"]:
        raise InputError(
            f"'{config}' starts from a pretrained network, and none is given; give --ckpts PATH, or --scratch_model "
            "to start from random weights"
        )
    if cfg["start"] == "random" and cfg["init"] and cfg["epochs"]:
        raise InputError(
            f"'{config}' trains from random weights (start=random), but init is '{cfg['init']}'; leave the checkpoint "
            f"out, or give {_finetuning_config(config)}"
        )


def _finetuning_config(config: str) -> str:
    """The config that does the same from a checkpoint, if it lies where this project has it."""
    path = Path(config)
    name = path.name.replace("scratch", "finetune")
    likely = [path.parent / name, path.parent.parent / "full" / name]
    return next((f"'{item}'" for item in likely if item != path and item.is_file()), "one that fine-tunes")


def evaluator_types(evaluators: Mapping[str, Any]) -> list[str]:
    """Returns the types of a section `evaluators`: those options that name one, and names elsewhere."""
    return [str((options or {}).get("type", name)) for name, options in evaluators.items()]
