"""The three nearest points by the CPU library."""

import torch
from torch import Tensor

from ..backends.library import Function

_three_nn = Function("point_ops_three_nn", 2, 3, 2)


def three_nn(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """(B, Q, 3), (B, N, 3) -> (B, Q, 3) squared distances, (B, Q, 3) int64, without a graph; see `ops.three_nn`."""
    batch, num_queries, _ = queries.shape
    squared = queries.new_empty(batch, num_queries, 3)
    index = queries.new_empty(batch, num_queries, 3, dtype=torch.int64)
    _three_nn(queries, points, batch, num_queries, points.shape[1], squared, index)
    return squared, index
