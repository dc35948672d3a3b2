"""What probes of frozen features have in common: the labelled objects that they learn from, all or some a class."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch

from pointrecon.datasets.splits import split_rows
from pointrecon.tools.context import RunContext
from pointrecon.tools.evaluators.accuracy import mean_report, report_on
from pointrecon.tools.evaluators.base import Evaluator
from pointrecon.tools.evaluators.encoder import EmbeddedSplit, SplitEncoder, SplitStore
from pointrecon.tools.settings import Settings


class LabelProbe(Evaluator):
    """Tells the class of an object from the features of labelled ones.

    Args:
        cfg: the whole config.
        name: what the config calls it.
        store: gives the data sets.
        split: the objects that are measured; it learns from `train`.
        shots: labelled objects a class; null: all.
        draws: how often those objects are drawn; the accuracy is the mean over the draws.

    Attributes:
        rows: of `train`, those that each draw learns from.

    Raises:
        InputError: an option out of range, or data that cannot be read.
    """

    def __init__(
        self,
        cfg: Settings,
        *,
        name: str,
        store: SplitStore,
        split: str = "test",
        shots: int | None = None,
        draws: int = 1,
    ) -> None:
        super().__init__(cfg, name=name, store=store, split=split)
        self.check_number("draws", draws, least=1, is_whole=True)
        if shots is not None:
            self.check_number("shots", shots, least=1, is_whole=True)
        self.train, self.test = store.get(cfg, "train"), store.get(cfg, split)
        self.rows = [np.arange(len(self.train))]
        if shots is not None:
            labels, nothing = self.train.labels.numpy(), np.zeros(len(self.train), dtype=bool)
            names, seed = self.train.class_names, cfg["seed"]
            self.rows = [
                split_rows("train", labels, nothing, names, shots=shots, seed=seed + draw) for draw in range(draws)
            ]

    @abstractmethod
    def predict(self, x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> np.ndarray:
        """Features (n, D) and labels (n,) int64 of objects to learn from, features (m, D) -> labels (m,) int64."""

    def run(self, encoder: SplitEncoder, ctx: RunContext) -> dict[str, Any]:
        """Returns what `accuracy.report_on` does, as the mean over the draws, and `num_train_objects`."""
        data = self.cfg["data"]
        (x, y), (x_test, y_test) = (_table(encoder.embed(part, data)) for part in (self.train, self.test))
        reports = []
        for rows in self.rows:
            predictions = torch.from_numpy(self.predict(x[rows], y[rows], x_test))
            reports.append(report_on(self.test, predictions, torch.from_numpy(y_test)))
        return mean_report(reports) | {"num_train_objects": len(self.rows[0])}


def _table(embedded: EmbeddedSplit) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 2C) and labels (n,)."""
    return embedded.embedding.feature.numpy(), embedded.labels.numpy()
