"""Names of known shapes, found by what an image query says: zero-shot recognition with a memory.

Shape legend: n objects, m known shapes, V views, P prompts, I and T widths of image and text features.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pointrecon.datasets.teacher_cache.reader import FeatureCache
from pointrecon.utils.errors import InputError

CHUNK = 512  # objects that are compared with the whole bank at once


class NameBank:
    """What the frozen teachers say of known shapes, such as those of pretraining.

    The image query of an object is compared with the pictures of all known shapes. The text features of their names,
    each weighted by the softmax of cosine / temperature, say what the object may be called. No object that is measured
    may be in it, since it would find its own name.

    Args:
        path: a teacher cache with image and text features.
        image_centered: subtract the mean image feature, for students trained on centred features.
        text_centered: the same of the text features.
        temperature: of the weights.

    Attributes:
        ids: m keys.
        images: (m, I) of unit length.
        names: (m, T) of unit length.

    Raises:
        InputError: the file is no teacher cache, or lacks one of the two.
    """

    def __init__(self, path: Path, *, image_centered: bool, text_centered: bool, temperature: float) -> None:
        cache = FeatureCache(path)
        self.path, self.temperature = path, temperature
        named = set(cache.ids("text"))
        self.ids = [name for name in cache.ids("image") if name in named]
        if not self.ids:
            raise InputError(f"'{path}' has no shape with both image and text features")
        self.images = _directions(cache.image_table(self.ids), is_centered=image_centered)
        self.names = _directions(cache.text_table(self.ids), is_centered=text_centered)

    def check_apart(self, ids: Sequence[str]) -> None:
        """Raises InputError if one of the objects that are measured is in the bank."""
        if shared := set(self.ids) & set(ids):
            raise InputError(
                f"'{self.path}' holds {len(shared)} of the {len(ids)} objects that are measured, such as "
                f"'{min(shared):.80}', which would find their own names; give the cache of a set without them"
            )

    def find(self, queries: Tensor) -> Tensor:
        """What objects may be called.

        Args:
            queries: (n, I), projected image queries.

        Returns:
            (n, T) of unit length.

        Raises:
            InputError: the queries have another width than the bank's pictures.
        """
        if queries.shape[-1] != self.images.shape[-1]:
            raise InputError(
                f"the image query is projected to {queries.shape[-1]} values, but the image features of '{self.path}' "
                f"have {self.images.shape[-1]}; give a cache of the teachers that the network has learnt from"
            )
        found = []
        for part in F.normalize(queries.float(), dim=-1).split(CHUNK):
            weights = (part @ self.images.T / self.temperature).softmax(dim=1)
            found.append(weights @ self.names)
        return F.normalize(torch.cat(found), dim=-1)


def _directions(table: Tensor, *, is_centered: bool) -> Tensor:
    """(m, V or P, D) -> (m, D): the mean direction of a shape's features."""
    rows = F.normalize(table.float(), dim=-1).mean(dim=1)
    return F.normalize(rows - rows.mean(dim=0) if is_centered else rows, dim=-1)
