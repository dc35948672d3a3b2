"""Checkpoints of a run: what they hold, which one a run goes on from, and whether its config is still the same.

Everything that a run needs to go on as if nothing had happened: weights, optimizer, place in the schedule and in the
epoch, sums of the epoch's metrics, best metric, states of the hooks, random states, config, versions. There is no
gradient scaler (bf16 does without).

`base_model` has the weights that are evaluated. With `ema.decay` these are the averaged ones, and the trained ones are
in `hooks.ema.trained`.
"""

import contextlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from logging import Logger
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pointrecon.tools.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from pointrecon.tools.environment import describe_versions
from pointrecon.tools.settings import Settings
from pointrecon.utils.config import complete_config, flatten, to_plain
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.processes import connection
from pointrecon.utils.seed import rng_state

LAST, PREVIOUS, BEST = "ckpt-last.pth", "ckpt-previous.pth", "ckpt-best.pth"
# Keys that change how a run goes and not what comes out of it.
FREE_KEYS = (
    *("device", "num_workers", "log_every", "save_every", "save_epochs", "keep_epochs", "keep", "figures", "compile"),
    *("cuda_graph", "resume", "resume_changed", "data_root", "output_root", "init", "evaluators", "skip_nonfinite"),
    *("parallel", "checkpoint_blocks"),
)
MAX_SHOWN = 5


@dataclass
class State:
    """How far a run is.

    Attributes:
        epoch: epochs done.
        step: optimizer steps done.
        epoch_steps: those of them in the epoch at hand.
        best: largest value of the metric that selects; best_metrics: all metrics of that epoch.
        metrics: training metrics of the last whole epoch.
        seconds: spent before this process started.
        num_skipped: steps skipped because their loss or gradient was not finite.
        num_records: lines of metrics.jsonl; later ones are written again.
        sums: of the metrics over the steps of the epoch at hand, see `MeanMeter.state`.
    """

    epoch: int = 0
    step: int = 0
    epoch_steps: int = 0
    best: float = -math.inf
    best_metrics: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    num_skipped: int = 0
    num_records: int | None = None
    sums: dict[str, list[float]] = field(default_factory=dict)


class Saved(Protocol):
    """What a checkpoint asks of the hooks of a run; see `tools.training.hooks`."""

    def evaluated_weights(self) -> Mapping[str, Tensor]:
        """Weights that evaluation puts in place of the trained ones."""

    def state_dict(self) -> Mapping[str, Any]:
        """Their states, by name."""


def make_content(
    state: State,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    cfg: Settings,
    *,
    hooks: Saved,
    notes: Mapping[str, Any],
    steps_per_epoch: int,
    total_steps: int,
) -> dict[str, Any]:
    """Everything that a checkpoint holds; tensors are those of the run, not copies.

    The order of an epoch and what a step draws depend on (seed, epoch) and (seed, step) alone, so the place of the
    sampler is two numbers, and the random states are those of the process that saves.
    """
    schedule = {"best": state.best, "seconds": state.seconds, "total_steps": total_steps}
    return {
        "base_model": {**model.state_dict(), **hooks.evaluated_weights()},
        "hooks": dict(hooks.state_dict()),
        **notes,
        "optimizer": optimizer.state_dict(),
        "parameter_names": parameter_names(optimizer, model),
        "epoch": state.epoch,
        "step": state.step,
        "metrics": state.metrics,
        "best_metrics": state.best_metrics,
        "config": to_plain(cfg),
        "schedule": {**schedule, "steps_per_epoch": steps_per_epoch},
        "sampler": {"epoch": state.epoch, "steps": state.epoch_steps},
        "progress": {"num_skipped": state.num_skipped, "num_records": state.num_records, "sums": state.sums},
        "precision": cfg["precision"],
        "random_state": rng_state(),
        "versions": describe_versions(),
    }


def parameter_names(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[list[str]]:
    """Names of the parameters that an optimizer moves, group by group."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [[names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]


def save_last(content: Mapping[str, Any], folder: Path) -> None:
    """Writes ckpt-last.pth and keeps the one before as ckpt-previous.pth, in case the new one is damaged later.

    Killed at any moment, it leaves at least one of the two whole.
    """
    last = folder / LAST
    with atomic_write(last, is_durable=True) as temporary:
        write_checkpoint(content, temporary)
        if last.is_file():
            _keep(last, folder / PREVIOUS)


def _keep(last: Path, previous: Path) -> None:
    """Gives a file a second name, or, where the file system has no such thing, that name instead of its own."""
    second = previous.with_name(f".{previous.stem}.{os.getpid()}.tmp{previous.suffix}")
    second.unlink(missing_ok=True)
    try:
        os.link(last, second)
    except OSError:
        os.replace(last, previous)
        return
    try:
        os.replace(second, previous)
    finally:  # renaming onto another name of the same file does nothing
        second.unlink(missing_ok=True)


def read_last(folder: Path, logger: Logger) -> dict[str, Any] | None:
    """Reads the checkpoint that a run goes on from: ckpt-last.pth or, if it is damaged or missing, the one before.

    Returns:
        its content, with the file in `path`; None if there is none yet and the command is run again by itself when it
        fails, so that the same command starts the run and goes on with it.

    Raises:
        InputError: there is none that can be read.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    if not last.is_file() and not previous.is_file():
        if connection.is_restarted():
            logger.info(f"resume: there is no '{last}' yet, so the run starts from the beginning")
            return None
        raise InputError(f"resume is set, but there is no '{last}'; leave out --resume to start the run")
    try:
        return {**read_checkpoint(last), "path": str(last)}
    except InputError as error:
        if not previous.is_file():
            raise
        logger.warning(f"{error}; going on from '{previous}' instead")
        return {**read_checkpoint(previous), "path": str(previous)}


def check_config(saved: Mapping[str, Any], cfg: Settings, logger: Logger) -> None:
    """Compares the config of a checkpoint with that of the run that goes on from it.

    Args:
        saved: config in the checkpoint; a key that it lacks, since an older version wrote it, had its default.
        cfg: the whole config; with `resume_changed` every difference is accepted.
        logger: is told every difference that is accepted.

    Raises:
        InputError: a difference that would make another run of it.
    """
    before, now = flatten(saved), flatten(cfg)
    with contextlib.suppress(InputError):  # values of another type are differences, too
        filled = flatten(complete_config(saved, "the checkpoint's config"))
        before = {**{key: value for key, value in filled.items() if key in now}, **before}
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


def check_versions(saved: Mapping[str, Any], logger: Logger) -> None:
    """Says which versions differ from those of a checkpoint: other versions may round in other ways."""
    for name, version in describe_versions().items():
        if isinstance(saved, Mapping) and isinstance(saved.get(name), str) and saved[name] != version:
            logger.warning(f"resume: {name} was {saved[name]} and is {version}; results may differ in the last digits")
