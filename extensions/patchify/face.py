"""Clouds cut into overlapping patches: the public function.

Shape legend: B batch, N points, G groups, K points per group.
"""

from torch import Tensor

from ..checks import check_coordinates, check_count
from ..fps import registered as fps
from ..interpolate.reference import gather
from ..knn import registered as knn
from ..registry import is_direct, is_transformed
from . import registered
from .reference import cut


def patchify(points: Tensor, num_groups: int, group_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut clouds into overlapping patches: `fps`, `knn`, `group` and the difference to the centres in one.

    Args:
        points: (B, N, 3) float32.
        num_groups: 1..N.
        group_size: points per patch, 1..N.

    Returns:
        Centres (B, G, 3); patches (B, G, K, 3) minus their centres, nearest point first; both differentiable in points.
        Indices (B, G, K) int64 of the patches' points. Ties as in `fps` and `knn`.

    Raises:
        ValueError: the shape is not (B, N, 3), a coordinate is not finite, or a number is not in 1..N.
    """
    (points,) = check_coordinates(points=points)
    num_groups = check_count("patchify", "num_groups", num_groups, points)
    group_size = check_count("patchify", "group_size", group_size, points)
    if is_direct(points):
        return registered.patchify(points, num_groups, group_size)
    if not is_transformed():
        return registered.registered_patchify(points, num_groups, group_size)
    values = points.detach()
    picked = fps.search(values, num_groups)
    index = knn.search(values, gather(values, picked), group_size)
    return *cut(points, picked, index), index
