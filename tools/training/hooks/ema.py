"""Exponential moving average of the weights, as a hook.

While it is on, the averaged weights are the ones that count: every evaluation runs with them, and each checkpoint has
them as `base_model`, so that whatever loads the file later gets them. The trained weights, which a resumed run goes on
from, are kept beside them under `hooks.ema.trained`.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pointrecon.tools.context import RunContext
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks.base import Task
from pointrecon.tools.training.hooks import Hook
from pointrecon.utils.errors import InputError


class WeightAverage(Hook):
    """After each step, average = decay * average + (1 - decay) * weights, for the parameters that are trained.

    Over the first steps the decay rises as (1 + n) / (10 + n), so that the average soon forgets the initial weights.
    Buffers (batch-norm statistics) are not averaged: those of the model belong to both.

    Args:
        model: whose parameters are averaged, in their own precision and on their own device.
        decay: largest decay, between 0 and 1.
    """

    name = "ema"

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self._parameters = {key: value for key, value in model.named_parameters() if value.requires_grad}
        self._average = {key: value.detach().clone() for key, value in self._parameters.items()}

    @torch.no_grad()
    def after_step(self, *, step: int) -> None:
        """Moves the average towards the weights."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        weights = [value.detach() for value in self._parameters.values()]
        torch._foreach_lerp_(list(self._average.values()), weights, 1 - decay)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """In the block the model has the averaged weights; in place, so that captured graphs stay valid."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def evaluated_weights(self) -> Mapping[str, Tensor]:
        """The averaged parameters, by name."""
        return self._average

    def state_dict(self) -> dict[str, Any]:
        """The trained weights and the number of updates; the average itself is the checkpoint's `base_model`."""
        trained = {key: value.detach() for key, value in self._parameters.items()}
        return {"decay": self.decay, "num_updates": self.num_updates, "trained": trained}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes what the model has, a checkpoint's `base_model`, for the average, and puts the trained weights into it.

        Args:
            state: of `state_dict`; {}: the average starts anew at the weights that the model has.

        Raises:
            InputError: the trained weights are of another model.
        """
        if not state:
            for key, parameter in self._parameters.items():
                self._average[key].copy_(parameter)
            return
        trained: Any = state.get("trained")
        shapes = {key: value.shape for key, value in self._parameters.items()}
        is_sound = isinstance(trained, Mapping) and all(isinstance(value, Tensor) for value in trained.values())
        if not is_sound or {key: value.shape for key, value in trained.items()} != shapes:
            raise InputError(
                "the checkpoint's averaged weights (ema) are not those of this model; give the config of the run that "
                "was interrupted"
            )
        self.num_updates = int(state["num_updates"])
        for key, parameter in self._parameters.items():
            self._average[key].copy_(parameter)
            parameter.copy_(trained[key])

    @torch.no_grad()
    def _swap(self) -> None:
        for key, parameter in self._parameters.items():
            trained = parameter.detach().clone()
            parameter.copy_(self._average[key])
            self._average[key].copy_(trained)


def make_ema(task: Task, cfg: Settings, ctx: RunContext) -> WeightAverage | None:
    """The average that `ema.decay` asks for, None if it is null."""
    decay = cfg["ema"]["decay"]
    return None if decay is None else WeightAverage(task.trained, decay=decay)
