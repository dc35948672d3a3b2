"""Farthest point sampling by the CPU library."""

import torch
from torch import Tensor

from ..backends.library import Function

_fps = Function("point_ops_fps", 1, 3, 1)


def fps(points: Tensor, num_samples: int) -> Tensor:
    """(B, N, 3) -> (B, G) int64; see `ops.fps`."""
    batch, num_points, _ = points.shape
    picked = points.new_empty(batch, num_samples, dtype=torch.int64)
    _fps(points, batch, num_points, num_samples, picked)
    return picked
