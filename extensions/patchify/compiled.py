"""Overlapping patches by the CPU library."""

import torch
from torch import Tensor

from ..backends.library import Function

_patchify = Function("point_ops_patchify", 1, 4, 3)


def patchify(points: Tensor, num_groups: int, group_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, 3) -> (B, G, 3), (B, G, K, 3), (B, G, K) int64, without a graph; see `ops.patchify`."""
    batch, num_points, _ = points.shape
    centers = points.new_empty(batch, num_groups, 3)
    patches = points.new_empty(batch, num_groups, group_size, 3)
    index = points.new_empty(batch, num_groups, group_size, dtype=torch.int64)
    _patchify(points, batch, num_points, num_groups, group_size, centers, patches, index)
    return centers, patches, index
