"""Definitions in plain torch: rows picked by an index, the three nearest points, and what lies between them.

Shape legend: B batch, N points, Q queries, G samples, K neighbors, C channels.
"""

from torch import Tensor

from ..knn.reference import knn


def gather(features: Tensor, index: Tensor) -> Tensor:
    """(B, N, C), (B, G) -> (B, G, C); see `ops.gather`."""
    return features.gather(1, index.unsqueeze(-1).expand(-1, -1, features.shape[-1]))


def group(features: Tensor, index: Tensor) -> Tensor:
    """(B, N, C), (B, Q, K) -> (B, Q, K, C); see `ops.group`."""
    return gather(features, index.flatten(1)).unflatten(1, index.shape[1:])


def three_nn(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """(B, Q, 3), (B, N, 3) -> (B, Q, 3) squared distances, (B, Q, 3) int64; see `ops.three_nn`."""
    index = knn(points, queries, 3)
    return squared_to(queries, points, index), index


def squared_to(queries: Tensor, points: Tensor, index: Tensor) -> Tensor:
    """(B, Q, 3), (B, N, 3), (B, Q, K) -> squared distances (B, Q, K) to chosen points, with all derivatives."""
    return (queries.unsqueeze(2) - group(points, index)).square().sum(dim=-1)


def three_interpolate(features: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """(B, N, C), (B, Q, 3), (B, Q, 3) -> (B, Q, C); see `ops.three_interpolate`."""
    return (group(features, index) * weight.unsqueeze(-1)).sum(dim=2)
