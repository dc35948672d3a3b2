"""Search by words, by a shape, or by both, over an index of embedded shapes.

Shape legend: n shapes, D feature width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from pointrecon.model import ShapeModel
from pointrecon.shapes import Shapes
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.files.npy import read_npz
from pointrecon.words import class_features

FAISS_ROWS = 100_000  # above, FAISS's flat index is used where it is installed


@dataclass(frozen=True)
class Hit:
    """A shape that was found.

    Attributes:
        id: Its path, as the index has it.
        score: Cosine similarity, in -1..1.
    """

    id: str
    score: float


class ShapeIndex:
    """Embeddings of many shapes, searched exactly.

    Args:
        ids: Of the shapes.
        shape_features: (n, 2C) what `ShapeModel.embed` gives.
        text_features: (n, D) in the text teacher's space; None: the network has none, and words cannot be searched.
    """

    def __init__(self, ids: Sequence[str], shape_features: np.ndarray, text_features: np.ndarray | None) -> None:
        self.ids = list(ids)
        self.shape_features = F.normalize(torch.from_numpy(np.ascontiguousarray(shape_features)).float(), dim=-1)
        self.text_features = None
        if text_features is not None:
            self.text_features = F.normalize(torch.from_numpy(np.ascontiguousarray(text_features)).float(), dim=-1)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def build(
        cls, model: ShapeModel, shapes: Shapes, *, up: str = "y", jobs: int = 1
    ) -> "tuple[ShapeIndex, dict[str, str]]":
        """Embeds shapes; returns the index, and why what was skipped was."""
        embedded, in_words = model.embed_all(shapes, up=up, jobs=jobs)
        return cls(embedded.ids, embedded.embeddings, in_words), embedded.skipped

    def save(self, path: str | Path) -> None:
        """Writes a .npz file, whole or not at all."""
        arrays: dict[str, Any] = {"ids": np.array(self.ids), "shape_features": self.shape_features.numpy()}
        if self.text_features is not None:
            arrays["text_features"] = self.text_features.numpy()
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "ShapeIndex":
        """Reads what `save` has written.

        Raises:
            InputError: There is no such file, or it is no index.
        """
        try:
            file = read_npz(path)
            return cls([str(name) for name in file["ids"]], file["shape_features"], file.get("text_features"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"'{path}' is no index ({error}); make one with: pointrecon search --build") from error

    def search(
        self,
        model: ShapeModel,
        *,
        words: str | None = None,
        shape: Shapes = None,
        weight: float = 0.5,
        top: int = 10,
        up: str = "y",
    ) -> list[Hit]:
        """The nearest shapes.

        Args:
            model: The network that made the index.
            words: What to look for, such as "floor lamp".
            shape: A shape to look for; with words, both count.
            weight: Share of the words where both are given, in 0..1.
            top: How many.
            up: The axis that is up in `shape`.

        Raises:
            InputError: Neither words nor a shape, or words for a network without a text teacher.
        """
        if words is None and shape is None:
            raise InputError("there is nothing to search for; give words, a shape, or both")
        if not 0 <= weight <= 1 or top < 1:
            raise InputError(f"weight is {weight} and top {top}, but must be in 0..1 and at least 1")
        scores = torch.zeros(len(self))
        if words is not None:
            if self.text_features is None:
                raise InputError("this index has no features for words: its network was trained without a text teacher")
            query = torch.from_numpy(class_features([words], model.info))[0]
            scores += (weight if shape is not None else 1.0) * (self.text_features @ query)
        if shape is not None:
            query = F.normalize(torch.from_numpy(model.embed(shape, up=up).embeddings), dim=-1).mean(0)
            share = 1 - weight if words is not None else 1.0
            scores += share * (self.shape_features @ F.normalize(query, dim=-1))
        best = scores.topk(min(top, len(self)))
        return [
            Hit(self.ids[row], score) for score, row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
