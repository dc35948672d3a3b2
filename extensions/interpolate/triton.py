"""The three nearest points by the kernel of `knn`."""

from torch import Tensor

from ..knn.triton import knn
from .reference import squared_to


def three_nn(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """The three nearest points of each query; see `ops.three_nn`.

    Args:
        queries: (B, Q, 3) float32.
        points: (B, N, 3) float32, N >= 3.

    Returns:
        Squared distances (B, Q, 3), differentiable, and indices (B, Q, 3) int64, nearest first.
    """
    index = knn(points, queries, 3)
    return squared_to(queries, points, index), index  # the search has no gradient; these are the reference's distances
