"""The contract between the runner and what it trains or measures, with what all tasks share."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.loader import BatchSource
from pointrecon.datasets.sample import Batch
from pointrecon.datasets.transforms import PointTransform
from pointrecon.tools.build import build_train_loader
from pointrecon.tools.checkpoints.checkpoint import load_weights
from pointrecon.tools.context import RunContext
from pointrecon.tools.evaluators.suite import EvaluatorSuite
from pointrecon.tools.protocol import SELECTIONS, selecting_split, selection
from pointrecon.tools.settings import DataSettings, Settings
from pointrecon.tools.tasks.start import SeenObjects, keys_of, name_source, object_keys, read_start
from pointrecon.utils.errors import InputError


class Validation(NamedTuple):
    """What is known of a network when the checkpoint is chosen."""

    split: str  # whose objects were measured
    metrics: dict[str, Any]
    monitor: str  # the metric that counts, higher is better


class Tested(NamedTuple):
    """What is measured."""

    keys: np.ndarray  # of the objects
    source: str  # in words
    is_known: bool  # the data say which objects they hold


class Task(ABC):
    """Something to train or to measure. The runner owns the loop, the task owns data, network and losses.

    A subclass builds its data sets and transforms, hands its network to `set_model` and its data to `set_data`, and
    overrides `prepare`, `compute_loss` and `evaluate`.

    Args:
        cfg: the whole config.
        ctx: the run's surroundings.

    Attributes:
        model: the trainable network, as it is saved; teachers are never inside it.
        network: `model` as it is called in training: the runner puts in the compiled or distributed version.
        trained: what the optimizer moves: `model`, or with `parallel: fsdp` this process's share of it.
        transform: what happens to the clouds of a training batch.
        eval_transform: what happens to the clouds that are measured.
        generator: of the augmentation and of what the network draws, seeded by the runner at each step.
        train_loader: batches; None for a task that only evaluates.
        monitor: the metric of `evaluate` that selects the best checkpoint, higher is better; None if there is none.
        class_names: what the outputs of a classifier stand for; None if it has none.
        evaluators: what the section `evaluators` asks for.
        start: the checkpoint that `init` names; None without one.
        seen: the objects that the network has been trained on, those of this run included.
    """

    model: nn.Module
    network: nn.Module
    trained: nn.Module
    transform: PointTransform
    eval_transform: PointTransform
    monitor: str | None = None
    class_names: list[str] | None = None
    train_loader: BatchSource | None = None

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
        self.start = read_start(cfg)
        self.seen = SeenObjects() if self.start is None else self.start.seen
        self._tested: dict[str, Tested] = {}

    def set_model(self, model: nn.Module, *, may_lack: Iterable[str] = (), skip: Iterable[str] = ()) -> None:
        """Takes the network over: onto the device, with the weights that `init` names.

        Args:
            model: built from the config, with random weights.
            may_lack: prefixes of keys that stay random if the checkpoint does not have them.
            skip: prefixes of keys that are not loaded, whatever their sizes.

        Raises:
            InputError: the checkpoint does not fit, or the network lacks what an evaluator needs.
        """
        self.model = self.network = self.trained = model.to(self.ctx.device)
        if self.start is None:
            self.ctx.logger.info("init: random weights")
        else:
            path, content = self.start.info["path"], self.start.content
            self.ctx.logger.info(
                f"init: {load_weights(self.model, path, may_lack, skip, content=content, cfg=self.cfg)}"
            )
            self.start.content = {}
        self.evaluators.set_model(self.model)

    def set_data(self, train: PointCloudDataset | None = None, test: PointCloudDataset | None = None) -> None:
        """Takes the data over: makes the batches, and looks whether objects that are tested have been trained on.

        Args:
            train: what the network learns from; None: nothing is trained.
            test: what `evaluate` measures, besides what the evaluators do.

        Raises:
            InputError: the training split is smaller than a batch.
        """
        if train is not None:
            self.train_loader = build_train_loader(self.cfg, train, self.ctx)
            self.seen.add(self.cfg["data"], train)
        if test is not None:
            self._tested["test"] = _describe_tested(self.cfg["data"], test)
        for name, evaluator in self.evaluators.evaluators.items():
            if (probed := evaluator.probed()) is not None:
                self._tested[name] = _describe_tested(evaluator.cfg["data"], probed)
        for name, (number, total) in self.count_seen().items():
            self.ctx.logger.warning(
                f"{number} of the {total} objects that '{name}' measures are among those that the network was trained "
                "on: its numbers will flatter"
            )
        for name, sources in self.list_unknown().items():
            self.ctx.logger.warning(
                f"whether the network was trained on objects that '{name}' measures is unknown: {', '.join(sources)} "
                "does not say which objects it holds; files that are made again do"
            )

    def count_seen(self) -> dict[str, tuple[int, int]]:
        """Of what is measured, by name: how many objects the network has been trained on, if any, and of how many."""
        counts = {name: (self.seen.count(tested.keys), len(tested.keys)) for name, tested in self._tested.items()}
        return {name: (number, total) for name, (number, total) in counts.items() if number}

    def list_unknown(self) -> dict[str, list[str]]:
        """By what is measured: data that do not say which objects they hold, so that it may have been trained on.

        Parts of one data set were compared when it was opened.
        """
        found = {}
        for name, tested in self._tested.items():
            others = self.seen.unknown - {tested.source}
            is_open = not tested.is_known and (self.start is not None or others)
            found[name] = sorted(others | ({tested.source} if is_open else set()))
        return {name: sources for name, sources in found.items() if sources}

    def checkpoint_notes(self) -> dict[str, Any]:
        """What a checkpoint says of the network besides its weights."""
        notes = {"seen_objects": self.seen.to_tensor(), "seen_unknown": sorted(self.seen.unknown)}
        return {"class_names": self.class_names, **notes}

    def training_step(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """One forward pass: the loss (scalar, mean over the batch) and scalars to report."""
        return self.compute_loss(*self.prepare(batch))

    def prepare(self, batch: Batch) -> tuple[Tensor | None, ...]:
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


def _describe_tested(data: DataSettings, dataset: PointCloudDataset) -> Tested:
    keys = keys_of(data, dataset)
    keys = object_keys(data, dataset.ids) if keys is None else keys  # reads all of them, as testing does
    return Tested(keys, name_source(data), dataset.knows_objects)


def head_of_start(cfg: Settings, init_head: str) -> dict[str, tuple[str, ...]]:
    """What `set_model` is told of the head: whether the checkpoint may lack it, or is not asked for it.

    Args:
        cfg: the whole config.
        init_head: `classifier.init_head` or `segmenter.init_head`.

    Raises:
        InputError: a network that is only tested would have a new head.
    """
    if not cfg["epochs"]:
        if init_head == "new":
            raise InputError("init_head is new, but a network that is only tested must bring its head; set it to file")
        return {"may_lack": ()}
    return {"skip": ("head.",)} if init_head == "new" else {"may_lack": ("head.",)}
