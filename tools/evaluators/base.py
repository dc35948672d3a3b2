"""What the tasks ask of an evaluator, and how a data set is encoded for one.

Shape legend: B batch, N points, T patch tokens, C channels.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pointrecon.datasets.loader import eval_loader


class Embedding(NamedTuple):
    """What the encoder makes of clouds."""

    queries: Tensor  # (B, 3, C): cls, image, text
    tokens: Tensor  # (B, T, C)
    image: Tensor | None  # (B, Di), the image query in the image teacher's space; None without that projection
    text: Tensor | None  # (B, Dt), likewise for text


Encode = Callable[[Tensor], Embedding]  # (B, N, 3) as the data set stores them -> on the CPU


class Evaluator(Protocol):
    """Owns its data and takes a function that embeds points."""

    def run(self, encode: Encode, ctx: Any) -> dict[str, Any]:
        """Metrics by name."""


def encode_dataset(encode: Encode, dataset: Dataset, batch_size: int) -> tuple[Embedding, Tensor, list[str]]:
    """Every object of a data set, in its order.

    Returns:
        the embedding, labels (n,) int64 and ids.
    """
    parts, labels, ids = [], [], []
    for batch in eval_loader(dataset, batch_size):
        parts.append(encode(batch["points"]))
        labels.append(batch["label"])
        ids += batch["id"]
    columns = zip(*parts, strict=True)
    embedding = Embedding(*(None if column[0] is None else torch.cat(column) for column in columns))
    return embedding, torch.cat(labels), ids
