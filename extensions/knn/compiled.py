"""Exact nearest neighbors by the CPU library."""

import torch
from torch import Tensor

from ..backends.library import Function

_knn = Function("point_ops_knn", 2, 4, 1)


def knn(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """(B, N, 3), (B, Q, 3) -> (B, Q, k) int64; see `ops.knn`."""
    batch, num_queries, _ = queries.shape
    index = points.new_empty(batch, num_queries, k, dtype=torch.int64)
    _knn(points, queries, batch, points.shape[1], num_queries, k, index)
    return index
