"""Checkpoints of a run: what they hold, which one a run goes on from, and whether its config is still the same."""

import os
from collections.abc import Mapping
from logging import Logger
from pathlib import Path
from typing import Any

from tools.checkpoint import read_checkpoint, save_checkpoint
from utils.config import flatten
from utils.errors import InputError

LAST, PREVIOUS, BEST = "ckpt-last.pth", "ckpt-previous.pth", "ckpt-best.pth"
# Keys that change how a run goes and not what comes out of it.
FREE_KEYS = ("device", "num_workers", "log_every", "save_every", "keep_epochs", "figures", "compile", "resume")
FREE_KEYS += ("resume_changed", "data_root", "output_root", "init", "evaluators", "skip_nonfinite")
MAX_SHOWN = 5


def save_last(content: dict[str, Any], folder: Path) -> None:
    """Writes ckpt-last.pth and keeps the one before as ckpt-previous.pth, in case the new one is damaged later."""
    last = folder / LAST
    if last.is_file():
        os.replace(last, folder / PREVIOUS)
    save_checkpoint(content, last)


def read_last(folder: Path, logger: Logger) -> dict[str, Any]:
    """Reads the checkpoint that a run goes on from: ckpt-last.pth or, if it is damaged or missing, the one before.

    Raises:
        InputError: there is none that can be read.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    if not last.is_file() and not previous.is_file():
        raise InputError(f"resume is set, but there is no '{last}'; leave out --resume to start the run")
    try:
        return read_checkpoint(last)
    except InputError as error:
        if not previous.is_file():
            raise
        logger.warning(f"{error}; going on from '{previous}' instead")
        return read_checkpoint(previous)


def check_config(saved: Mapping[str, Any], cfg: Mapping[str, Any], logger: Logger) -> None:
    """Compares the config of a checkpoint with that of the run that goes on from it.

    Args:
        saved: config in the checkpoint.
        cfg: the whole config; with `resume_changed` every difference is accepted.
        logger: is told every difference that is accepted.

    Raises:
        InputError: a difference that would make another run of it.
    """
    before, now = flatten(saved), flatten(cfg)
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    binding = [key for key in changed if key.split(".")[0] not in FREE_KEYS]
    shown = [f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in binding]
    if binding and not cfg["resume_changed"]:
        more = f" and {len(shown) - MAX_SHOWN} more" if len(shown) > MAX_SHOWN else ""
        raise InputError(
            f"this is not the run that was interrupted: {', '.join(shown[:MAX_SHOWN])}{more}; give the same config to "
            "go on with it, or resume_changed=true to go on all the same"
        )
    for key in changed:
        if key not in ("resume", "resume_changed"):
            logger.info(f"resume: {key} was {before.get(key)!r} and is {now.get(key)!r}")
