"""The definition of overlapping patches in plain torch.

Shape legend: B batch, N points, G groups, K points per group.
"""

from torch import Tensor

from ..fps.reference import fps
from ..interpolate.reference import gather, group
from ..knn.reference import knn


def patchify(points: Tensor, num_groups: int, group_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, 3) -> (B, G, 3), (B, G, K, 3), (B, G, K) int64; see `ops.patchify`."""
    picked = fps(points, num_groups)
    index = knn(points, gather(points, picked), group_size)
    return *cut(points, picked, index), index


def cut(points: Tensor, picked: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N, 3), (B, G), (B, G, K) -> centres (B, G, 3), patches (B, G, K, 3), with all derivatives."""
    centers = gather(points, picked)
    return centers, group(points, index) - centers.unsqueeze(2)
