"""Zero-shot recognition of a test set, the same for every model: order of points, class features, axes, spread.

Shape legend: n objects, N points of an object, C classes, E shared space.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pointrecon.datasets.open.zero_shot import ZeroShotSet
from pointrecon.tools.open.changes import AS_STORED, change
from pointrecon.tools.sweeps.summary import wilson
from pointrecon.utils.errors import InputError

# Clouds with their colours, and the axis that is up in them -> (b, E) of unit length.
Embed = Callable[[Sequence[np.ndarray], Sequence[np.ndarray | None], str], np.ndarray]
TOPS = (1, 3, 5)
BATCH = 32


@dataclass(frozen=True)
class Score:
    """One row of a table.

    Attributes:
        model: What the user calls it.
        dataset: What the set is called.
        up: The axis that was taken for up in the stored clouds.
        change: What was done to the clouds.
        num_objects: n.
        num_classes: C.
        top: Share of objects whose class is among the best k, by k.
        interval: 95 % of top-1 over objects.
        class_mean: Mean over the classes that have objects of their top-1.
        text: Where the classes' features are from.
        notes: Of the set.
    """

    model: str
    dataset: str
    up: str
    change: str
    num_objects: int
    num_classes: int
    top: dict[int, float]
    interval: tuple[float, float]
    class_mean: float
    text: str
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def evaluate(
    embed: Embed,
    dataset: ZeroShotSet,
    classes: np.ndarray,
    *,
    model: str,
    text: str,
    conditions: Iterable[tuple[str, str]] = (("y", AS_STORED),),
) -> list[Score]:
    """Scores a model on a set; each cloud is read once.

    Args:
        embed: The model.
        dataset: What it is tested on.
        classes: (C, E) features of the classes, of any length.
        model: For the table.
        text: For the table.
        conditions: (axis that is taken for up, key of `changes.CHANGES`).

    Raises:
        InputError: Class features of another width than the model's, or an object that cannot be read.
    """
    conditions = list(conditions)
    classes = classes / np.linalg.norm(classes, axis=1, keepdims=True).clip(1e-12)
    ranks: list[list[np.ndarray]] = [[] for _ in conditions]
    for start in range(0, len(dataset), BATCH):
        rows = range(start, min(start + BATCH, len(dataset)))
        clouds = [dataset.read(row) for row in rows]
        labels = dataset.labels[start : start + len(clouds)]
        for place, (up, name) in enumerate(conditions):
            changed = [change(name, cloud, row) for cloud, row in zip(clouds, rows, strict=True)]
            embedded = embed([points for points, _ in changed], [colors for _, colors in changed], up)
            if embedded.shape[1] != classes.shape[1]:
                raise InputError(
                    f"'{model}' embeds in {embedded.shape[1]} dimensions, but the class features of {dataset.name} "
                    f"({text}) have {classes.shape[1]}; give those of its own text teacher (--class-features)"
                )
            ranks[place].append(rank_of(embedded @ classes.T, labels))
    return [
        _score(model, dataset, up, name, np.concatenate(found), text)
        for (up, name), found in zip(conditions, ranks, strict=True)
    ]


def rank_of(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n, C) scores, (n,) labels -> (n,) how many classes are at least as good as the right one, itself left out.

    Equal scores count against the model, so that one that says the same of all classes is right by chance nowhere.
    """
    right = scores[np.arange(len(labels)), labels][:, None]
    return (scores >= right).sum(1) - 1 + len(scores[0]) * ~np.isfinite(right[:, 0])


def _score(model: str, dataset: ZeroShotSet, up: str, name: str, ranks: np.ndarray, text: str) -> Score:
    is_right = ranks == 0
    present = np.unique(dataset.labels)
    return Score(
        model,
        dataset.name,
        up,
        name,
        len(ranks),
        len(dataset.class_names),
        {k: float((ranks < k).mean()) for k in TOPS},
        wilson(float(is_right.mean()), len(ranks)),
        float(np.mean([is_right[dataset.labels == label].mean() for label in present])),
        text,
        dataset.notes,
    )
