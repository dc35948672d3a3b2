"""The contract between the runner and what it trains or measures, with what all tasks share."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pointrecon.datasets.resident import ResidentLoader
from pointrecon.datasets.transforms import PointTransform
from pointrecon.tools.checkpoints.checkpoint import load_weights
from pointrecon.tools.context import RunContext
from pointrecon.tools.evaluators.suite import EvaluatorSuite
from pointrecon.tools.protocol import SELECTIONS, selecting_split, selection
from pointrecon.tools.settings import Settings
from pointrecon.utils.errors import InputError


class Validation(NamedTuple):
    """What is known of a network when the checkpoint is chosen."""

    split: str  # whose objects were measured
    metrics: dict[str, Any]
    monitor: str  # the metric that counts, higher is better


class Task(ABC):
    """Something to train or to measure. The runner owns the loop, the task owns data, network and losses.

    A subclass builds its data sets and transforms, hands its network to `set_model`, and overrides `prepare`,
    `compute_loss` and `evaluate`.

    Args:
        cfg: the whole config.
        ctx: the run's surroundings.

    Attributes:
        model: the trainable network, as it is saved; teachers are never inside it.
        network: `model` as it is called in training: the runner puts in the compiled or distributed version.
        transform: what happens to the clouds of a training batch.
        eval_transform: what happens to the clouds that are measured.
        generator: of the augmentation and of what the network draws, seeded by the runner at each step.
        train_loader: batches; None for a task that only evaluates.
        monitor: the metric of `evaluate` that selects the best checkpoint, higher is better; None if there is none.
        class_names: what the outputs of a classifier stand for; None if it has none.
        evaluators: what the section `evaluators` asks for.
    """

    model: nn.Module
    network: nn.Module
    transform: PointTransform
    eval_transform: PointTransform
    monitor: str | None = None
    class_names: list[str] | None = None
    train_loader: DataLoader | ResidentLoader | None = None

    def __init__(self, cfg: Settings, ctx: RunContext) -> None:
        self.cfg, self.ctx = cfg, ctx
        self.generator = torch.Generator(device=ctx.device)
        self.evaluators = EvaluatorSuite(cfg, ctx)
        select = selection(cfg)
        if select in ("val", "test") and self.monitor is None and cfg["epochs"]:
            raise InputError(
                f"select is '{select}', but task={cfg['task']} has no metric of its own to select by; set select=last "
                "or the name of an evaluator"
            )

    def set_model(self, model: nn.Module, *, may_lack: Iterable[str] = (), skip: Iterable[str] = ()) -> None:
        """Takes the network over: onto the device, with the weights that `init` names.

        Args:
            model: built from the config, with random weights.
            may_lack: prefixes of keys that stay random if the checkpoint does not have them.
            skip: prefixes of keys that are not loaded, whatever their sizes.

        Raises:
            InputError: the checkpoint cannot be read or does not fit.
        """
        self.model = self.network = model.to(self.ctx.device)
        if self.cfg["init"]:
            self.ctx.logger.info(f"init: {load_weights(self.model, self.cfg['init'], may_lack, skip)}")
        else:
            self.ctx.logger.info("init: random weights")
        self.evaluators.set_model(self.model)

    def training_step(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """One forward pass: the loss (scalar, mean over the batch) and scalars to report."""
        return self.compute_loss(*self.prepare(batch))

    def prepare(self, batch: Mapping[str, Any]) -> tuple[Tensor | None, ...]:
        """The part of `training_step` before the network: what the loss is computed from, augmented, on the device."""
        raise AssertionError(f"task={self.cfg['task']} trains nothing")

    def compute_loss(self, *inputs: Any, **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The part from there on. On a GPU nothing in it may make the host wait: it is recorded and replayed."""
        raise AssertionError(f"task={self.cfg['task']} trains nothing")

    def validate(self, select: str) -> Validation:
        """Measures what chooses the checkpoint.

        Args:
            select: `val`, `test` or the name of an evaluator.
        """
        if select in SELECTIONS:
            assert self.monitor is not None, f"task={self.cfg['task']} has no metric to select by"
            return Validation(select, self.evaluate(select), self.monitor)
        metrics, name = self.evaluators.validate()
        return Validation(selecting_split(self.cfg) or select, metrics, name)

    @abstractmethod
    def evaluate(self, split: str) -> dict[str, Any]:
        """Metrics on `val` or `test`; the runner reads `test` once, at the end, unless `select` is test."""
