"""The public face of the point operations.

Shape legend: B batch, N points, M other points, Q queries, G samples, K neighbours, C channels.
All coordinates are float32 of shape (..., 3); every operation works on any device and none loops over the batch.
"""

from torch import Tensor

from extensions.dispatch import select_backend

__all__ = ["chamfer_distance", "fps", "gather", "group", "knn", "three_interpolate", "three_nn"]


def fps(points: Tensor, num_samples: int) -> Tensor:
    """Farthest point sampling (Eldar et al., 1997; PointNet++, section 3.2).

    Args:
        points: (B, N, 3) float32.
        num_samples: how many points to pick, 1..N.

    Returns:
        (B, G) int64 indices in the order of picking. The first is index 0; ties go to the lowest index.

    Raises:
        ValueError: the shape is not (B, N, 3) or num_samples is not in 1..N.
    """
    _check_points("points", points)
    if not 1 <= num_samples <= points.shape[1]:
        raise ValueError(
            f"fps: num_samples is {num_samples}, but the clouds have {points.shape[1]} points; "
            f"it must lie in 1..{points.shape[1]}"
        )
    return select_backend(points).fps(points, num_samples)


def knn(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """Exact k nearest neighbours of each query.

    Args:
        points: (B, N, 3) float32, searched.
        queries: (B, Q, 3) float32.
        k: neighbours a query, 1..N.

    Returns:
        (B, Q, k) int64 indices into points, by increasing squared distance; ties go to the lowest index.

    Raises:
        ValueError: a shape does not fit or k is not in 1..N.
    """
    _check_points("points", points)
    _check_points("queries", queries)
    _check_same_batch(points, queries)
    if not 1 <= k <= points.shape[1]:
        raise ValueError(f"knn: k is {k}, but the clouds have {points.shape[1]} points; it must lie in 1..N")
    return select_backend(points).knn(points, queries, k)


def gather(features: Tensor, index: Tensor) -> Tensor:
    """Pick rows.

    Args:
        features: (B, N, C), any dtype.
        index: (B, G) int64 in 0..N-1.

    Returns:
        (B, G, C), differentiable in features.

    Raises:
        ValueError: a shape does not fit.
    """
    if features.dim() != 3 or index.dim() != 2 or features.shape[0] != index.shape[0]:
        raise ValueError(
            f"gather: needs features (B, N, C) and index (B, G), got {tuple(features.shape)} and {tuple(index.shape)}"
        )
    return select_backend(features).gather(features, index)


def group(features: Tensor, index: Tensor) -> Tensor:
    """Pick the rows of every neighbourhood.

    Args:
        features: (B, N, C), any dtype.
        index: (B, Q, K) int64 in 0..N-1.

    Returns:
        (B, Q, K, C), differentiable in features.

    Raises:
        ValueError: a shape does not fit.
    """
    if features.dim() != 3 or index.dim() != 3 or features.shape[0] != index.shape[0]:
        raise ValueError(
            f"group: needs features (B, N, C) and index (B, Q, K), got {tuple(features.shape)} and {tuple(index.shape)}"
        )
    return select_backend(features).group(features, index)


def three_nn(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """The three nearest points of each query.

    Args:
        queries: (B, Q, 3) float32.
        points: (B, N, 3) float32, N >= 3.

    Returns:
        Squared distances (B, Q, 3), differentiable, and indices (B, Q, 3) int64, nearest first.

    Raises:
        ValueError: a shape does not fit or N < 3.
    """
    _check_points("queries", queries)
    _check_points("points", points)
    _check_same_batch(points, queries)
    if points.shape[1] < 3:
        raise ValueError(f"three_nn: needs at least 3 points, got {points.shape[1]}")
    return select_backend(points).three_nn(queries, points)


def three_interpolate(features: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of three neighbours' features (PointNet++, section 3.4).

    Args:
        features: (B, N, C).
        index: (B, Q, 3) int64.
        weight: (B, Q, 3), summing to 1 over the last axis.

    Returns:
        (B, Q, C), differentiable in features and weight.

    Raises:
        ValueError: a shape does not fit.
    """
    is_triple = index.dim() == 3 and index.shape[-1] == 3 and index.shape == weight.shape
    if features.dim() != 3 or not is_triple or features.shape[0] != index.shape[0]:
        raise ValueError(
            "three_interpolate: needs features (B, N, C), index (B, Q, 3) and weight (B, Q, 3), got "
            f"{tuple(features.shape)}, {tuple(index.shape)} and {tuple(weight.shape)}"
        )
    return select_backend(features).three_interpolate(features, index, weight)


def chamfer_distance(a: Tensor, b: Tensor, norm: int = 2) -> Tensor:
    """Chamfer distance between pairs of clouds, averaged over all of them.

    With p = squared distance from each point of a to its nearest in b, q the other way (Fan et al., 2017):
    norm 2 is mean(p) + mean(q); norm 1 is (mean(sqrt p) + mean(sqrt q)) / 2.

    Args:
        a: (B, N, 3) float32.
        b: (B, M, 3) float32.
        norm: 1 or 2.

    Returns:
        A scalar, differentiable in a and b (subgradient 0 where two points coincide).

    Raises:
        ValueError: a shape does not fit, a cloud is empty, or norm is neither 1 nor 2.
    """
    _check_points("a", a)
    _check_points("b", b)
    _check_same_batch(a, b)
    if norm not in (1, 2):
        raise ValueError(f"chamfer_distance: norm is {norm!r}; it must be 1 or 2")
    if a.numel() == 0 or b.numel() == 0:
        raise ValueError(f"chamfer_distance: a cloud is empty: {tuple(a.shape)} against {tuple(b.shape)}")
    return select_backend(a).chamfer_distance(a, b, norm)


def _check_points(name: str, points: Tensor) -> None:
    if points.dim() != 3 or points.shape[-1] != 3:
        raise ValueError(f"{name} must have shape (B, N, 3), got {tuple(points.shape)}")
    if not points.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {points.dtype}")


def _check_same_batch(a: Tensor, b: Tensor) -> None:
    if a.shape[0] != b.shape[0]:
        raise ValueError(f"the batch sizes differ: {a.shape[0]} and {b.shape[0]}")
    if a.device != b.device:
        raise ValueError(f"the devices differ: {a.device} and {b.device}")
