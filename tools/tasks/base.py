"""What the runner asks of a task."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader


class Task(Protocol):
    """Something to train or to measure. The runner owns the loop, the task owns data, network and losses.

    Attributes:
        model: the trainable network, as it is saved; teachers are never inside it.
        network: `model` as it is called in training: the runner puts in the compiled or distributed version.
        generator: of the augmentation and of what the network draws, seeded by the runner at each step.
        train_loader: batches; None for a task that only evaluates.
        monitor: the metric of `evaluate` that selects the best checkpoint, higher is better; None if there is none.
    """

    model: nn.Module
    network: nn.Module
    generator: torch.Generator
    train_loader: DataLoader | None
    monitor: str | None

    def training_step(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """One forward pass: the loss (scalar, mean over the batch) and scalars to report."""

    def prepare(self, batch: dict[str, Any]) -> tuple[Tensor | None, ...]:
        """The part of `training_step` before the network: what the loss is computed from, augmented, on the device."""

    def compute_loss(self, *inputs: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """The part from there on. On a GPU nothing in it may make the host wait: it is recorded and replayed."""

    def evaluate(self, split: str) -> dict[str, Any]:
        """Metrics on `val` or `test`; the runner reads `test` once, at the end, unless `select` is test."""
