"""Farthest point sampling: the public function.

Shape legend: B batch, N points, G samples.
"""

from torch import Tensor

from ..checks import check_coordinates, check_count
from ..registry import is_direct
from . import registered


def fps(points: Tensor, num_samples: int) -> Tensor:
    """Farthest point sampling (Eldar et al., 1997; PointNet++, section 3.2).

    Args:
        points: (B, N, 3) float32.
        num_samples: how many points to pick, 1..N.

    Returns:
        (B, G) int64 indices in the order of picking. The first is index 0; ties go to the lowest index.

    Raises:
        ValueError: the shape is not (B, N, 3), a coordinate is not finite, or num_samples is not in 1..N.
    """
    (points,) = check_coordinates(points=points)
    num_samples = check_count("fps", "num_samples", num_samples, points)
    if is_direct(points):
        return registered.fps(points, num_samples)
    return registered.search(points.detach(), num_samples)
