"""Ends the stop-gradient between the streams after some epochs, as a hook."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from pointrecon.tools.context import RunContext
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks.base import Task
from pointrecon.tools.training.hooks import Hook
from pointrecon.utils.errors import InputError


class StopGradientRelease(Hook):
    """After `epochs` epochs the queries move the patch tokens.

    Args:
        encoders: have `stop_grad`, which is changed: of the model, and of its shared-out copy if there is one.
        epochs: how many are trained with it.
    """

    name = "stop_grad"

    def __init__(self, *encoders: nn.Module, epochs: int) -> None:
        self.encoders: Any = encoders
        self.epochs, self.done = epochs, 0

    def after_epoch(self, *, epoch: int) -> dict[str, float]:
        """Releases it when its time has come."""
        self._set(epoch)
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The epochs that are done."""
        return {"done": self.done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self._set(int(state.get("done", 0)))

    def _set(self, done: int) -> None:
        self.done = done
        if done >= self.epochs:
            for encoder in self.encoders:
                encoder.stop_grad = False


def make_release(task: Task, cfg: Settings, ctx: RunContext) -> StopGradientRelease | None:
    """The hook of `model.stop_grad_until`; None without it.

    Raises:
        InputError: the steps are captured as a CUDA graph, which cannot change on the way.
    """
    if cfg["task"] != "pretrain" or not cfg["model"]["stop_grad"]:
        return None
    epochs = cfg["model"]["stop_grad_until"]
    if epochs is None:
        return None
    if ctx.device.type == "cuda" and cfg["cuda_graph"]:
        raise InputError("model.stop_grad_until changes the step on the way; give cuda_graph=false as well")
    model, network = task.model, getattr(task.network, "model", task.network)
    networks: Any = [model] if network is model else [model, network]
    return StopGradientRelease(*(item.encoder for item in networks), epochs=epochs)
