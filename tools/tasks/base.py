"""What the runner asks of a task."""

from typing import Any, Protocol

from torch import Tensor, nn
from torch.utils.data import DataLoader


class Task(Protocol):
    """Something to train or to measure. The runner owns the loop, the task owns data, network and losses.

    Attributes:
        model: the trainable network, as it is saved; teachers are never inside it.
        network: `model` as it is called in training: the runner puts in the compiled or distributed version.
        train_loader: batches; None for a task that only evaluates.
        monitor: the metric of `evaluate` that selects the best checkpoint, higher is better; None if there is none.
    """

    model: nn.Module
    network: nn.Module
    train_loader: DataLoader | None
    monitor: str | None

    def training_step(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """One forward pass: the loss (scalar, mean over the batch) and scalars to report."""

    def evaluate(self, split: str) -> dict[str, Any]:
        """Metrics on `val` or `test`; the runner reads `test` once, at the end, unless `select` is test."""
