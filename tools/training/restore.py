"""Puts a run where its checkpoint was written."""

from collections.abc import Mapping
from typing import Any

import torch

from pointrecon.tools.checkpoints import resume
from pointrecon.tools.checkpoints.snapshot import State, check_config, check_versions, parameter_names
from pointrecon.tools.context import RunContext
from pointrecon.tools.protocol import num_epochs
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks.base import Task
from pointrecon.tools.training.hooks import HookList
from pointrecon.tools.training.parallel.weights import Weights
from pointrecon.tools.training.place import find_place


def restore(
    content: Mapping[str, Any],
    task: Task,
    cfg: Settings,
    ctx: RunContext,
    *,
    optimizer: torch.optim.Optimizer,
    hooks: HookList,
    weights: Weights,
    steps_per_epoch: int,
) -> State:
    """Checks a checkpoint, and takes from it weights, optimizer, hooks, random states and the place in the epoch.

    Args:
        content: of `snapshot.read_last`.
        task: its model gets the weights.
        cfg: the whole config.
        ctx: the run's surroundings.
        optimizer: over what is trained.
        hooks: of the run.
        weights: bring what the file has to what is trained.
        steps_per_epoch: of this run; the checkpoint may have another number.

    Returns:
        How far the run is.

    Raises:
        InputError: the checkpoint is not one of this run, or something in it does not fit.
    """
    path, logger = content["path"], ctx.logger
    resume.check_parts(content, path)
    check_config(content["config"], cfg, logger)
    check_versions(content.get("versions", {}), logger)
    state, change = find_place(resume.read_state(content, path), content, cfg, steps_per_epoch=steps_per_epoch)
    is_finished = state.epoch >= num_epochs(cfg)
    if not is_finished:
        resume.check_training_parts(content, path)
    resume.load_model(task.model, content, path)
    weights.push()
    names = parameter_names(optimizer, task.trained)
    own = weights.part({**content, "parameter_names": names})
    hooks.load_state_dict(own.get("hooks", {}))
    if not is_finished:
        resume.load_optimizer(optimizer, {**content, "optimizer": own["optimizer"]}, names, path)
        resume.load_random_state(content["random_state"], path)
    if change is not None:
        logger.info(f"resume: {change}")
    end = "; the run is finished, and is only evaluated again" if is_finished else ""
    logger.info(f"resumed after epoch {state.epoch}, step {state.step}{end}")
    return state
