"""The definition of exact nearest neighbors in plain torch.

Shape legend: B batch, N points, Q queries, K neighbors.
"""

import torch
from torch import Tensor

# Distances are formed a slab of queries at a time, so that memory stays bounded for large clouds.
MAX_SLAB_ELEMENTS = 1 << 25


def squared_distances(queries: Tensor, points: Tensor) -> Tensor:
    """(B, Q, 3), (B, N, 3) -> (B, Q, N), in the direct form.

    |a|^2 - 2ab + |b|^2, which `torch.cdist` falls back to for larger inputs, cancels and misplaces neighbours.
    """
    dx, dy, dz = (queries[..., axis].unsqueeze(2) - points[..., axis].unsqueeze(1) for axis in range(3))
    return dx * dx + dy * dy + dz * dz


@torch.no_grad()
def knn(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """(B, N, 3), (B, Q, 3) -> (B, Q, k) int64; see `ops.knn`."""
    slab = max(1, MAX_SLAB_ELEMENTS // max(1, points.shape[0] * points.shape[1]))
    return torch.cat([smallest(squared_distances(part, points), k) for part in queries.split(slab, dim=1)], dim=1)


def smallest(distance: Tensor, k: int) -> Tensor:
    """(B, Q, N) -> (B, Q, k) int64: where the k smallest are, in order, ties to the lowest index."""
    if k == distance.shape[-1]:
        return distance.sort(dim=-1, stable=True).indices
    values, index = distance.topk(k + 1, dim=-1, largest=False, sorted=True)
    # topk breaks ties as it likes. Equal distances inside the k are put in index order below; only a tie across the
    # k-th place can have kept the wrong point, and then the rows concerned are sorted in full.
    crossing = values[..., k - 1] == values[..., k]
    values, index = values[..., :k], index[..., :k]
    by_index = index.argsort(dim=-1)
    values, index = values.gather(-1, by_index), index.gather(-1, by_index)
    index = index.gather(-1, values.argsort(dim=-1, stable=True))
    if crossing.any():
        index[crossing] = distance[crossing].sort(dim=-1, stable=True).indices[..., :k]
    return index
