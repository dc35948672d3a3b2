"""Teachers as a control: sources of cached features whose shapes have others' features, or random ones.

Shape legend: n samples, U different names, V views, P prompts per name, D feature width.
"""

from typing import Any

import torch

from pointrecon.datasets.teacher_cache.control import NONE, RANDOM, other_rows, random_vectors
from pointrecon.tools.teachers.sources import CachedImages, CachedSamples, CachedText
from pointrecon.utils.errors import InputError


def control_source(source: Any, control: str, seed: int, name: str) -> Any:
    """Puts `teachers.<name>.control` into effect.

    Args:
        source: of cached features; changed in place.
        control: `none`, `shuffled` (those of another shape, the same one for all teachers of a run) or `random`
            (a direction for each shape, as long as what it stands for, less the mean where that is subtracted).
        seed: of the run.
        name: of the teacher.

    Raises:
        InputError: the features are not in a cache.
    """
    if control == NONE:
        return source
    if not isinstance(source, (CachedImages, CachedSamples, CachedText)):
        raise InputError(
            f"teachers.{name}.control is {control}, but its features are not read from a cache; set "
            f"teachers.{name}.control=none, or teachers.{name}.path to a cache"
        )
    if control == RANDOM:
        centered = source.table.float() if source.mean is None else source.table.float() - source.mean
        lengths = centered.norm(dim=-1) * (source.table != 0).any(dim=-1)
        if isinstance(source, CachedText):
            lengths = lengths.mean(dim=1, keepdim=True)[source.name_of]  # a row an object, also of those with one name
            source.name_of = torch.arange(len(lengths), device=lengths.device)
        source.table, source.mean = random_vectors(lengths, source.dim, seed), None
    elif isinstance(source, CachedText):
        source.name_of = source.name_of[other_rows(len(source.name_of), seed).to(source.name_of.device)]
    else:
        source.table = source.table[other_rows(len(source.table), seed).to(source.table.device)]
    return source
