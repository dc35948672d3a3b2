"""Writes the embeddings of labelled objects, for pictures and for whoever wants to go on with them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pointrecon.models.heads import probe_feature
from pointrecon.tools.build import build_dataset
from pointrecon.tools.evaluators import EVALUATORS
from pointrecon.tools.evaluators.base import Encode, encode_dataset
from pointrecon.utils.files.io import atomic_write


@EVALUATORS.register("embeddings")
class Embeddings:
    """embeddings.npz: ids, labels, split (n,), embeddings (n, 2C) as the SVM sees them, class_names.

    Args:
        cfg: the whole config.
        splits: which splits of the data set.
    """

    def __init__(self, cfg: Mapping[str, Any], splits: Sequence[str] = ("train", "test")) -> None:
        self.batch_size = cfg["batch_size"]
        self.datasets = {split: build_dataset(cfg, split, shots=None) for split in splits}

    def run(self, encode: Encode, ctx: Any) -> dict[str, Any]:
        """Writes the file; returns `num_objects`."""
        columns: dict[str, list] = {"ids": [], "labels": [], "split": [], "embeddings": []}
        for split, dataset in self.datasets.items():
            embedding, labels, ids = encode_dataset(encode, dataset, self.batch_size)
            columns["ids"] += ids
            columns["labels"].append(labels.numpy())
            columns["split"] += [split] * len(ids)
            columns["embeddings"].append(probe_feature(embedding.queries, embedding.tokens).numpy())
        for name in ("labels", "embeddings"):
            columns[name] = np.concatenate(columns[name])
        with atomic_write(ctx.folder / "embeddings.npz") as temporary:
            np.savez_compressed(temporary, class_names=dataset.class_names, **columns)
        return {"num_objects": len(columns["ids"])}
