"""Exact nearest neighbors by the CPU library."""

import torch
from torch import Tensor

from ..backends.library import Function

_knn = Function("point_ops_knn", 2, 4, 1)
_knn_wide = Function("point_ops_knn_wide", 2, 5, 2)


def knn(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """(B, N, 3), (B, Q, 3) -> (B, Q, k) int64; see `ops.knn`."""
    batch, num_queries, _ = queries.shape
    index = points.new_empty(batch, num_queries, k, dtype=torch.int64)
    _knn(points, queries, batch, points.shape[1], num_queries, k, index)
    return index


def knn_wide(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(B, N, C), (B, Q, C) -> squared distances and indices (B, Q, k) of the nearest points, whatever their width."""
    batch, num_points, width = points.shape
    num_queries = queries.shape[1]
    squared = points.new_empty(batch, num_queries, k)
    index = points.new_empty(batch, num_queries, k, dtype=torch.int64)
    _knn_wide(points, queries, batch, num_points, num_queries, width, k, squared, index)
    return squared, index
