"""Shapes that are there more than once, and families of parts that differ in size only.

Distances of a shape's points to each other find candidates, whichever way the shapes are turned; the Chamfer distance
of the shapes in their four positions on the ground decides.
Shape legend: n shapes, M points per shape, D numbers that describe a shape.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from pointrecon.extensions import ops
from pointrecon.utils.log import progress_bar

NUM_POINTS = 2048  # farthest points of a shape that are compared
NUM_COARSE = 256  # of these, the ones that say which position is worth a look
REACH = 0.035  # root mean square difference of descriptions, in radii, up to which shapes are candidates
# Chamfer distance (norm 1) up to which shapes are one, in mean distances of a point to the nearest other one. Two draws
# from one surface are 0.43 to 0.61 apart, 0.52 in the middle (216 shapes); of 256 points each, 0.34 to 0.52.
SAME = 0.65
MAX_CANDIDATES = 12  # nearest ones that are looked at
_NUM_PAIRS = 8192


def describe(points: np.ndarray) -> np.ndarray:
    """Describes shapes by numbers that no turn about an axis changes much.

    Args:
        points: (n, M, 3) in the unit sphere, evenly spread.

    Returns:
        (n, D) float32: quantiles of the distances between points (the shape distribution D2 of Osada et al., 2002) and
        of their distances to the centre, and the sides of the box, each in radii.
    """
    random = np.random.RandomState(0)
    count = points.shape[1]
    first, second = random.randint(count, size=_NUM_PAIRS), random.randint(count, size=_NUM_PAIRS)
    steps = np.linspace(0.02, 0.98, 33)
    rows = []
    for cloud in points.astype(np.float32):
        apart = np.sort(np.sqrt(((cloud[first] - cloud[second]) ** 2).sum(1)))
        radii = np.sort(np.sqrt((cloud**2).sum(1)))
        sides = np.sort(np.ptp(cloud, axis=0))
        rows.append(np.concatenate([_quantiles(apart, steps), _quantiles(radii, steps[::2]), np.repeat(sides, 4)]))
    return np.stack(rows).astype(np.float32)


def find_duplicates(points: np.ndarray, num_given: int = 0, only_given: bool = False) -> np.ndarray:
    """Says which shapes repeat another one.

    Shapes are looked at one after the other, and one that is the same as a kept shape goes.

    Args:
        points: (n, M, 3) in the unit sphere, farthest points first; the first `NUM_POINTS` are compared.
        num_given: The first ones are given: they stay, and are not compared with each other.
        only_given: Only look for shapes that repeat given ones.

    Returns:
        (n,) int64: the row of the kept shape that each one repeats; -1: it is kept.
    """
    from scipy.spatial import cKDTree

    points = np.ascontiguousarray(points[:, :NUM_POINTS], dtype=np.float32)
    descriptions = describe(points)
    descriptions /= np.sqrt(descriptions.shape[1])
    tree = cKDTree(descriptions)
    clouds = _Clouds(torch.from_numpy(points))
    result = np.full(len(points), -1, dtype=np.int64)
    is_kept = np.arange(len(points)) < num_given
    for row in progress_bar(range(num_given, len(points)), "looking for duplicates"):
        near = np.array(tree.query_ball_point(descriptions[row], REACH), dtype=np.int64)
        near = near[is_kept[near]]
        apart = ((descriptions[near] - descriptions[row]) ** 2).sum(1)
        near = near[np.lexsort((near, apart))][:MAX_CANDIDATES]
        result[row] = clouds.first_same(row, near)
        is_kept[row] = result[row] < 0 and not only_given
    return result


def limit_families(families: Sequence[str], names: Sequence[str], rows: Iterable[int], per_family: int) -> list[int]:
    """Keeps a number of shapes a family, spread evenly over its sizes.

    Args:
        families: Of each shape.
        names: Of each shape; numbers in them order a family.
        rows: The shapes that are there.
        per_family: Largest number.

    Returns:
        The rows that stay, in increasing order.
    """
    members: dict[str, list[int]] = {}
    for row in rows:
        members.setdefault(families[row], []).append(row)
    kept = []
    for group in members.values():
        group = sorted(group, key=lambda row: (_natural(names[row]), row))
        if len(group) > per_family:
            picks = np.rint(np.linspace(0, len(group) - 1, per_family)).astype(int)
            group = [group[pick] for pick in picks]
        kept += group
    return sorted(kept)


def turned(points: Tensor) -> Tensor:
    """(..., M, 3) -> (4, ..., M, 3): turned about the vertical by 0, 90, 180 and 270 degrees."""
    x, y, z = points.unbind(-1)
    return torch.stack([torch.stack(turn, -1) for turn in ((x, y, z), (z, y, -x), (-x, y, -z), (-z, y, x))])


class _Clouds:
    """The shapes, and how far apart their points are, found when it is first needed."""

    def __init__(self, points: Tensor) -> None:
        self.points = points
        self._spacings: dict[int, float] = {}

    def first_same(self, row: int, near: np.ndarray) -> int:
        """Returns the first shape of `near` that is the same as that of `row`; -1: none."""
        if not len(near):
            return -1
        turns = turned(self.points[row])
        coarse = turns[:, :NUM_COARSE].repeat(len(near), 1, 1)
        others = self.points[near][:, :NUM_COARSE].repeat_interleave(4, 0)
        apart = (_chamfer(coarse, others) / _spacing(others)).view(len(near), 4)
        for place, other in enumerate(near.tolist()):
            limit = SAME * (self._spacing_of(row) + self._spacing_of(other)) / 2
            for turn in torch.argsort(apart[place], stable=True).tolist():
                if apart[place, turn] > 1.1 * SAME:  # fewer points say it less exactly
                    break
                if float(ops.chamfer_distance(turns[turn][None], self.points[other][None], norm=1)) <= limit:
                    return other
        return -1

    def _spacing_of(self, row: int) -> float:
        if row not in self._spacings:
            self._spacings[row] = float(_spacing(self.points[row][None]))
        return self._spacings[row]


def _chamfer(a: Tensor, b: Tensor) -> Tensor:
    """(B, M, 3) twice -> (B,): Chamfer distance of each pair, norm 1."""
    from_a = (a - ops.gather(b, ops.knn(b, a, 1)[..., 0])).norm(dim=-1).mean(1)
    from_b = (b - ops.gather(a, ops.knn(a, b, 1)[..., 0])).norm(dim=-1).mean(1)
    return (from_a + from_b) / 2


def _spacing(points: Tensor) -> Tensor:
    """(B, M, 3) -> (B,): mean distance of a point to the nearest other one."""
    return (points - ops.gather(points, ops.knn(points, points, 2)[..., 1])).norm(dim=-1).mean(1)


def _quantiles(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    return values[np.rint(steps * (len(values) - 1)).astype(int)]


def _natural(name: str) -> list:
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(0, float(part), "") if part[:1].isdigit() else (1, 0.0, part) for part in parts]
