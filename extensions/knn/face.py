"""Exact nearest neighbors: the public function.

Shape legend: B batch, N points, Q queries, K neighbors.
"""

from torch import Tensor

from ..checks import check_coordinates, check_count
from ..registry import is_direct
from . import registered


def knn(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """Exact k nearest neighbors of each query.

    Args:
        points: (B, N, 3) float32, searched.
        queries: (B, Q, 3) float32.
        k: neighbors a query, 1..N.

    Returns:
        (B, Q, k) int64 indices into points, by increasing squared distance; ties go to the lowest index.

    Raises:
        ValueError: a shape does not fit, a coordinate is not finite, or k is not in 1..N.
    """
    points, queries = check_coordinates(points=points, queries=queries)
    k = check_count("knn", "k", k, points)
    if is_direct(points, queries):
        return registered.knn(points, queries, k)
    return registered.search(points.detach(), queries.detach(), k)
