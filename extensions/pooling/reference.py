"""Definitions in plain torch of the maximum over the points of a patch.

Shape legend: P patches, K points per patch, D width of a point, C channels.
"""

import torch
from torch import Tensor


def linear_max(x: Tensor, weight: Tensor, relu: bool = False) -> Tensor:
    """(P, K, D), (C, D) -> (P, C); see `ops.linear_max`."""
    return ((x.relu() if relu else x) @ weight.T).max(dim=1).values


def pool_max(x: Tensor) -> tuple[Tensor, Tensor]:
    """(P, K, C) -> the maximum over K (P, C), NaN if there is one, and its place (P, C) uint8; K at most 256."""
    values, index = x.max(dim=1)
    return values, index.to(torch.uint8)
