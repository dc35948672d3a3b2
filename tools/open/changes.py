"""What may be wrong with a cloud when it is used: the columns of robustness.

Shape legend: N points.
"""

from collections.abc import Callable, Mapping

import numpy as np

Cloud = tuple[np.ndarray, np.ndarray | None]
AS_STORED = "as stored"


def _no_colour(points: np.ndarray, colors: np.ndarray | None, random: np.random.RandomState) -> Cloud:
    return points, None


def _few_points(points: np.ndarray, colors: np.ndarray | None, random: np.random.RandomState) -> Cloud:
    rows = np.sort(random.permutation(len(points))[:1024])
    return points[rows], None if colors is None else colors[rows]


def _half(points: np.ndarray, colors: np.ndarray | None, random: np.random.RandomState) -> Cloud:
    """One side of a plane that halves the points, its normal drawn evenly over the sphere."""
    order = np.argsort((points - points.mean(0)) @ random.randn(3), kind="stable")
    rows = np.sort(order[: max(1, len(points) // 2)])
    return points[rows], None if colors is None else colors[rows]


def _noise(points: np.ndarray, colors: np.ndarray | None, random: np.random.RandomState) -> Cloud:
    radius = np.linalg.norm(points - points.mean(0), axis=1).max()
    return points + (np.clip(0.01 * random.randn(*points.shape), -0.05, 0.05) * radius).astype(np.float32), colors


def _turned(points: np.ndarray, colors: np.ndarray | None, random: np.random.RandomState) -> Cloud:
    """A rotation drawn evenly over all of them, from a quaternion."""
    w, x, y, z = (q := random.randn(4)) / np.linalg.norm(q)
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return (points @ turn.T).astype(np.float32), colors


CHANGES: Mapping[str, Callable[[np.ndarray, np.ndarray | None, np.random.RandomState], Cloud]] = {
    AS_STORED: lambda points, colors, random: (points, colors),
    "no colour": _no_colour,
    "1,024 points": _few_points,
    "half of the cloud": _half,
    "noise .01": _noise,
    "any rotation": _turned,
}


def change(name: str, cloud: Cloud, row: int) -> Cloud:
    """A cloud changed in one way; what is drawn depends on the way and the object's row alone.

    Args:
        name: A key of `CHANGES`.
        cloud: Coordinates (N, 3) and colours (N, 3) or None.
        row: Of the object in its set.
    """
    return CHANGES[name](*cloud, np.random.RandomState((row * 7919 + list(CHANGES).index(name)) % (1 << 32)))
