"""Exact nearest neighbors as an operation of torch.

Shape legend: B batch, N points, Q queries, K neighbors.
"""

import torch
from torch import Tensor

from ..checks import prepare
from ..dispatch import select_function
from ..registry import is_in_onnx_export, register
from . import reference


def knn(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """The operation itself, checked, without torch's dispatcher; see `ops.knn`."""
    _, (points, queries) = prepare(points=points, queries=queries)
    return select_function(points, "knn")(points, queries, k)


def _fake(points: Tensor, queries: Tensor, k: int) -> Tensor:
    return points.new_empty(*queries.shape[:2], k, dtype=torch.int64)


def search(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """The same for tensors of any kind, without a gradient."""
    if is_in_onnx_export():
        # ONNX defines that the lower index of equal values comes first, and knows no stable sort.
        return reference.squared_distances(queries, points).topk(k, dim=-1, largest=False).indices
    return registered_knn(points, queries, k)


registered_knn = register(knn, _fake)
