"""Writes the embeddings of labelled objects, for pictures and for whoever wants to go on with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.tools.context import RunContext
from pointrecon.tools.evaluators import EVALUATORS
from pointrecon.tools.evaluators.base import SPLITS, Evaluator
from pointrecon.tools.evaluators.encoder import EmbeddedSplit, SplitEncoder, SplitStore
from pointrecon.tools.settings import Settings
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.files.io import atomic_write


@EVALUATORS.register("embeddings")
class Embeddings(Evaluator):
    """embeddings.npz: ids, labels, split (n,), embeddings (n, 2C) as the SVM sees them, class_names.

    Args:
        cfg: the whole config.
        name: what the config calls it; under another name than `embeddings` the file is embeddings-NAME.npz.
        store: gives the data sets.
        splits: which splits of the data set.

    Raises:
        InputError: an unknown split, or data that cannot be read.
    """

    monitor = None

    def __init__(
        self, cfg: Settings, *, name: str, store: SplitStore, splits: Sequence[str] = ("train", "test")
    ) -> None:
        if isinstance(splits, str) or not isinstance(splits, Sequence) or not splits:
            raise InputError(f"evaluators.{name}.splits is {splits!r}, but must be a list such as [train, test]")
        for part in splits:
            check_choice(f"evaluators.{name}.splits", part, SPLITS)
        super().__init__(cfg, name=name, store=store, split=splits[-1])
        self.datasets = {part: store.get(cfg, part) for part in splits}
        self._found: dict[str, EmbeddedSplit] = {}

    def run(self, encoder: SplitEncoder, ctx: RunContext) -> dict[str, Any]:
        """Returns `num_objects`."""
        self._found = {part: encoder.embed(dataset, self.cfg["data"]) for part, dataset in self.datasets.items()}
        return {"num_objects": sum(len(found.ids) for found in self._found.values())}

    def save(self, folder: Path) -> None:
        """Writes the file."""
        found = self._found.values()
        path = folder / ("embeddings.npz" if self.name == "embeddings" else f"embeddings-{self.name}.npz")
        with atomic_write(path) as temporary:
            np.savez_compressed(
                temporary,
                ids=[key for part in found for key in part.ids],
                labels=np.concatenate([part.labels.numpy() for part in found]),
                split=[name for name, part in self._found.items() for _ in part.ids],
                embeddings=np.concatenate([part.embedding.feature.numpy() for part in found]),
                class_names=self.datasets[self.split].class_names,
            )

    def probed(self) -> None:
        """Nothing is measured on them."""
