"""The teachers' features as tables on the device, one row a training sample; a step only picks from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from datasets.features import FeatureCache
from utils.errors import InputError, check_choice

KINDS = ("CachedFeatures",)  # live teachers only make caches: frozen, they would say the same thing at every step


class TeacherTables:
    """Image and text features of a data set.

    Args:
        teachers: the section `teachers`; a teacher that is None is switched off.
        dataset: has `ids`, and `features_path` for sections without a path.
        device: where the tables are kept.

    Attributes:
        image: (n, V, Di) views of every sample, or None.
        text: (n, P, Dt) prompts of every sample, or None.

    Raises:
        InputError: a cache is missing, damaged or lacks a sample.
    """

    def __init__(self, teachers: Mapping[str, Any], dataset: Any, device: torch.device) -> None:
        self.row_of = {key: row for row, key in enumerate(dataset.ids)}
        self.image = self.text = None
        if teachers["image"] is not None:
            cache = open_cache(teachers["image"], dataset)
            table = cache.image_table(dataset.ids, teachers["image"]["num_views"])
            self.image = _prepare(table, teachers["image"]["center"], device)
        if teachers["text"] is not None:
            cache = open_cache(teachers["text"], dataset)
            table = cache.text_table(dataset.ids, teachers["text"]["num_prompts"])
            self.text = _prepare(table, teachers["text"]["center"], device)

    @property
    def image_dim(self) -> int | None:
        """Di, None without an image teacher."""
        return None if self.image is None else self.image.shape[-1]

    @property
    def text_dim(self) -> int | None:
        """Dt, None without a text teacher."""
        return None if self.text is None else self.text.shape[-1]

    def draw(self, ids: Sequence[str], generator: torch.Generator) -> tuple[Tensor | None, Tensor | None]:
        """A random view and a random prompt of each sample: (B, Di) and (B, Dt)."""
        rows = [self.row_of[key] for key in ids]
        return _draw(self.image, rows, generator), _draw(self.text, rows, generator)


def open_cache(teacher: Mapping[str, Any], dataset: Any) -> FeatureCache:
    """The cache file of a teacher: the section's path, or the data set's own.

    Raises:
        InputError: there is none.
    """
    check_choice("teachers.*.type", teacher["type"], KINDS)
    path = teacher["path"] or getattr(dataset, "features_path", None)
    if path is None:
        raise InputError(
            f"{type(dataset).__name__} brings no teacher features; make them with scripts/make_teacher_cache.py and "
            "give teachers.image.path and teachers.text.path, or switch a teacher off with teachers.image=null"
        )
    return FeatureCache(path)


def _prepare(table: Tensor, is_centered: bool, device: torch.device) -> Tensor:
    """Subtracts, where asked, what all features have in common: their mean over the training samples."""
    if is_centered:
        table = table - table.mean(dim=(0, 1))
    return table.to(device)


def _draw(table: Tensor | None, rows: list[int], generator: torch.Generator) -> Tensor | None:
    if table is None:
        return None
    index = torch.tensor(rows, device=table.device)
    choice = torch.randint(table.shape[1], index.shape, device=table.device, generator=generator)
    return table[index, choice]
