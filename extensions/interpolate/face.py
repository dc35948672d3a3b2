"""Rows picked by an index, the three nearest points, and what lies between them: the public functions.

Shape legend: B batch, N points, Q queries, G samples, K neighbors, C channels.
"""

from torch import Tensor

from ..checks import check_coordinates, check_rows
from ..knn import registered as knn
from ..registry import is_direct, is_transformed
from . import reference, registered


def gather(features: Tensor, index: Tensor) -> Tensor:
    """Pick rows.

    Args:
        features: (B, N, C), any dtype.
        index: (B, G) int64 or int32 in 0..N-1.

    Returns:
        (B, G, C), differentiable in features.

    Raises:
        ValueError: a shape, type or device does not fit, or an index lies outside 0..N-1.
    """
    check_rows("gather", features, index, "(B, G)")
    return reference.gather(features, index.long())


def group(features: Tensor, index: Tensor) -> Tensor:
    """Pick the rows of every neighbourhood.

    Args:
        features: (B, N, C), any dtype.
        index: (B, Q, K) int64 or int32 in 0..N-1.

    Returns:
        (B, Q, K, C), differentiable in features.

    Raises:
        ValueError: a shape, type or device does not fit, or an index lies outside 0..N-1.
    """
    check_rows("group", features, index, "(B, Q, K)")
    return reference.group(features, index.long())


def three_nn(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """The three nearest points of each query.

    Args:
        queries: (B, Q, 3) float32.
        points: (B, N, 3) float32, N >= 3.

    Returns:
        Squared distances (B, Q, 3), differentiable, and indices (B, Q, 3) int64, nearest first.

    Raises:
        ValueError: a shape does not fit, a coordinate is not finite, or N < 3.
    """
    queries, points = check_coordinates(queries=queries, points=points)
    if points.shape[1] < 3:
        raise ValueError(f"three_nn: needs at least 3 points, got {points.shape[1]} (points {tuple(points.shape)})")
    if is_direct(queries, points):
        return registered.three_nn(queries, points)
    if not is_transformed():
        return registered.registered_three_nn(queries, points)
    index = knn.search(points.detach(), queries.detach(), 3)
    return reference.squared_to(queries, points, index), index


def three_interpolate(features: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of three neighbors' features (PointNet++, section 3.4).

    Args:
        features: (B, N, C).
        index: (B, Q, 3) int64 or int32 in 0..N-1.
        weight: (B, Q, 3), summing to 1 over the last axis.

    Returns:
        (B, Q, C), differentiable in features and weight.

    Raises:
        ValueError: a shape, type or device does not fit, or an index lies outside 0..N-1.
    """
    check_rows("three_interpolate", features, index, "(B, Q, 3)", weight)
    return reference.three_interpolate(features, index.long(), weight)
