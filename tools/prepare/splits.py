"""Splits of a folder, class by class, with near copies of a shape all on one side.

Shape legend: n shapes, N points per shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pointrecon.datasets.meshes.duplicates import NUM_POINTS, find_duplicates
from pointrecon.utils.errors import InputError

MIN_COMPARED = 64  # a cloud of fewer is not looked at closely


@dataclass
class Split:
    """Which shape is for what.

    Attributes:
        names: (n,) train, val or test.
        num_copies: Shapes that repeat another one.
        conflicts: Pairs of rows of near copies that have different classes: one of the two labels is wrong.
        untested: Classes of which nothing is for testing, since they have a single shape or copies of one.
    """

    names: np.ndarray
    num_copies: int = 0
    conflicts: list[tuple[int, int]] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)


def group_copies(points: np.ndarray) -> np.ndarray:
    """(n, N, 3) clouds, +y up, farthest points first -> (n,) the row of the first shape that each one repeats.

    All are compared by as many points as the smallest of them has, since small clouds repeat their points.
    """
    distinct = min(len(np.unique(cloud, axis=0)) for cloud in points)
    first = find_duplicates(points[:, : min(max(distinct, MIN_COMPARED), NUM_POINTS)])
    return np.where(first < 0, np.arange(len(points)), first)


def make_split(
    labels: np.ndarray,
    groups: np.ndarray,
    class_names: Sequence[str] = (),
    *,
    test: float = 0.2,
    val: float = 0.0,
    seed: int = 0,
) -> Split:
    """Draws a split, class by class; shapes of one group stay together.

    Args:
        labels: (n,) class indices; -1: no class. Such shapes are for training, unless nothing has a class.
        groups: (n,) the group of each shape, see `group_copies`.
        class_names: For what is reported.
        test: Share of each class that is for testing; at least one shape, if another one is left.
        val: The same for validation; 0: none.
        seed: Of the draw.

    Raises:
        InputError: A share is out of range.
    """
    for name, share in (("test", test), ("val", val)):
        if not 0 <= share < 1 or test + val >= 1:
            raise InputError(f"--{name} is {share}, but must be at least 0 and, with the other one, below 1")
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    class_of = {group: _class_of(labels[rows]) for group, rows in members.items()}
    has_labels = bool((labels >= 0).any())
    result = Split(np.full(len(labels), "train", dtype="<U5"), num_copies=len(labels) - len(members))
    random = np.random.RandomState(seed)
    for label in sorted(set(class_of.values())):
        if label < 0 and has_labels:
            continue
        own = [members[group] for group in sorted(members) if class_of[group] == label]
        own = [own[place] for place in random.permutation(len(own))]
        total = sum(map(len, own))
        for name, share in (("test", test), ("val", val)):
            picked = _pick(own, share * total)
            own = [rows for rows in own if rows not in picked]
            for rows in picked:
                result.names[rows] = name
            if share and not picked and name == "test":
                result.untested.append(class_names[label] if label >= 0 else "(no class)")
    result.conflicts = [
        (rows[0], other) for rows in members.values() for other in rows[1:] if _differ(labels[rows[0]], labels[other])
    ]
    return result


def _pick(groups: Sequence[list[int]], wanted: float) -> list[list[int]]:
    """Groups with about as many shapes as wanted, at least one; one is always left."""
    if wanted == 0 or len(groups) < 2:
        return []
    picked: list[list[int]] = []
    count = 0
    for rows in groups:
        if len(picked) < len(groups) - 1 and count + len(rows) <= max(1, round(wanted)):
            picked.append(rows)
            count += len(rows)
    return picked or [min(groups, key=len)]


def _class_of(labels: np.ndarray) -> int:
    """The most frequent class, -1 if there is none."""
    known = labels[labels >= 0]
    return int(np.bincount(known).argmax()) if len(known) else -1


def _differ(one: int, other: int) -> bool:
    return one >= 0 and other >= 0 and one != other
