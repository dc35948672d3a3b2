"""The public face of the point operations.

Coordinates are (..., 3). They are computed in float32, half precision is widened, also under autocast; double precision
stays double and runs in the reference. Indices are int64. Every operation works on any device, takes tensors of any
stride, and none loops over the batch. NaN and infinite coordinates are refused on the CPU; on a GPU the check would
make the processor wait at every call, and what they give is undefined.

Shape legend: B batch, N points, M other points, Q queries, G samples or groups, K neighbours, C channels.
"""

import torch
from torch import Tensor

from . import library, reference
from .dispatch import select_backend

__all__ = ["attention", "chamfer_distance", "cross_attention", "fps", "gather", "group", "knn", "linear_max"]
__all__ += ["patchify", "three_interpolate", "three_nn"]


def fps(points: Tensor, num_samples: int) -> Tensor:
    """Farthest point sampling (Eldar et al., 1997; PointNet++, section 3.2).

    Args:
        points: (B, N, 3) float32.
        num_samples: how many points to pick, 1..N.

    Returns:
        (B, G) int64 indices in the order of picking. The first is index 0; ties go to the lowest index.

    Raises:
        ValueError: the shape is not (B, N, 3), a coordinate is not finite, or num_samples is not in 1..N.
    """
    (points,) = _coordinates(points=points)
    _check_count("fps", "num_samples", num_samples, points)
    return library.fps(points.detach(), num_samples)


def knn(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """Exact k nearest neighbours of each query.

    Args:
        points: (B, N, 3) float32, searched.
        queries: (B, Q, 3) float32.
        k: neighbours a query, 1..N.

    Returns:
        (B, Q, k) int64 indices into points, by increasing squared distance; ties go to the lowest index.

    Raises:
        ValueError: a shape does not fit, a coordinate is not finite, or k is not in 1..N.
    """
    points, queries = _coordinates(points=points, queries=queries)
    _check_count("knn", "k", k, points)
    return library.knn(points.detach(), queries.detach(), k)


def patchify(points: Tensor, num_groups: int, group_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut clouds into overlapping patches: `fps`, `knn`, `group` and the difference to the centres in one.

    Args:
        points: (B, N, 3) float32.
        num_groups: 1..N.
        group_size: points a patch, 1..N.

    Returns:
        Centres (B, G, 3); patches (B, G, K, 3) minus their centres, nearest point first; both differentiable in points.
        Indices (B, G, K) int64 of the patches' points. Ties as in `fps` and `knn`.

    Raises:
        ValueError: the shape is not (B, N, 3), a coordinate is not finite, or a number is not in 1..N.
    """
    (points,) = _coordinates(points=points)
    _check_count("patchify", "num_groups", num_groups, points)
    _check_count("patchify", "group_size", group_size, points)
    if not (points.requires_grad and torch.is_grad_enabled()):
        return library.patchify(points.detach(), num_groups, group_size)
    centers = reference.gather(points, library.fps(points.detach(), num_groups))
    index = library.knn(points.detach(), centers.detach(), group_size)
    return centers, reference.group(points, index) - centers.unsqueeze(2), index


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
    return _plain("gather", features)(features, index)


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
    return _plain("group", features)(features, index)


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
    queries, points = _coordinates(queries=queries, points=points)
    if points.shape[1] < 3:
        raise ValueError(f"three_nn: needs at least 3 points, got {points.shape[1]} (points {tuple(points.shape)})")
    return library.three_nn(queries, points)


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
    return _plain("three_interpolate", features)(features, index, weight)


def chamfer_distance(a: Tensor, b: Tensor, norm: int = 2) -> Tensor:
    """Chamfer distance between pairs of clouds, averaged over all of them.

    With p = squared distance from each point of a to its nearest in b, q the other way (Fan et al., 2017):
    norm 2 is mean(p) + mean(q); norm 1 is (mean(sqrt p) + mean(sqrt q)) / 2.

    Args:
        a: (B, N, 3) float32.
        b: (B, M, 3) float32.
        norm: 1 or 2.

    Returns:
        A scalar, differentiable in a and b (subgradient 0 where two points coincide). It is not finite if a coordinate
        of a network's output is not: what requires a gradient is not refused, so that training can tell of its loss.

    Raises:
        ValueError: a shape does not fit, a coordinate is not finite, a cloud is empty, or norm is neither 1 nor 2.
    """
    a, b = _coordinates(a=a, b=b)
    if norm not in (1, 2):
        raise ValueError(f"chamfer_distance: norm is {norm!r}; it must be 1 or 2")
    if a.numel() == 0 or b.numel() == 0:
        raise ValueError(f"chamfer_distance: a cloud is empty: {tuple(a.shape)} against {tuple(b.shape)}")
    if torch.compiler.is_compiling():
        (from_a, _), (from_b, _) = library.nearest(a, b), library.nearest(b, a)
        return reference.combine_chamfer(from_a, from_b, norm)
    for name, cloud in (("a", a), ("b", b)):
        if not cloud.requires_grad:
            library.check_finite(name, cloud)
    backend = select_backend(a, "chamfer_distance") if a.dtype == torch.float32 else reference
    return backend.chamfer_distance(a.contiguous(), b.contiguous(), norm)


def linear_max(x: Tensor, weight: Tensor, relu: bool = False) -> Tensor:
    """The maximum over each patch's points of a linear map, as PointNets pool (Qi et al., 2017).

    Args:
        x: (P, K, D) features, in the precision of a matrix product: autocast applies.
        weight: (C, D).
        relu: pool the map of max(x, 0).

    Returns:
        (P, C), differentiable in both; the gradient goes to the first of equal points.

    Raises:
        ValueError: a shape does not fit, or there is no point.
    """
    if x.dim() != 3 or weight.dim() != 2 or x.shape[2] != weight.shape[1] or x.shape[1] == 0:
        raise ValueError(
            f"linear_max takes x (P, K, D) with K of at least 1 and weight (C, D), got {tuple(x.shape)} and "
            f"{tuple(weight.shape)}"
        )
    if not _is_plain(x, weight):
        return reference.linear_max(x, weight, relu)
    return select_backend(x, "linear_max").linear_max(x.contiguous(), weight.contiguous(), relu)


def attention(qkv: Tensor) -> Tensor:
    """Self-attention, softmax(q k^T / sqrt(D)) v for each head (Vaswani et al., 2017).

    Args:
        qkv: (B, T, 3, H, D), queries, keys and values of T tokens in H heads of width D, in any precision.

    Returns:
        (B, T, H * D), differentiable once.

    Raises:
        ValueError: the shape is another.
    """
    if qkv.dim() != 5 or qkv.shape[2] != 3:
        raise ValueError(f"attention takes qkv (B, T, 3, H, D), got {tuple(qkv.shape)}")
    return _projected_backend("attention", qkv).attention(qkv)


def cross_attention(q: Tensor, kv: Tensor) -> Tensor:
    """Attention of queries to other tokens.

    Args:
        q: (B, Q, H, D), in any precision.
        kv: (B, T, 2, H, D), keys and values of at least one token.

    Returns:
        (B, Q, H * D), differentiable once.

    Raises:
        ValueError: the shapes are others or do not fit, or there is no token.
    """
    is_well = q.dim() == 4 and kv.dim() == 5 and kv.shape[2] == 2 and kv.shape[1] > 0
    if not is_well or q.shape[0] != kv.shape[0] or q.shape[2:] != kv.shape[3:]:
        raise ValueError(
            f"cross_attention takes q (B, Q, H, D) and kv (B, T, 2, H, D) with T of at least 1, got {tuple(q.shape)} "
            f"and {tuple(kv.shape)}"
        )
    return _projected_backend("cross_attention", q, kv).cross_attention(q, kv)


def _projected_backend(operation: str, *projected: Tensor):
    return select_backend(projected[0], operation) if _is_plain(*projected) else reference


def _is_plain(*tensors: Tensor) -> bool:
    """Whether kernels of float32 alone may run: autocast and the compiler take the expression made of torch's own."""
    is_float32 = all(x.dtype == torch.float32 for x in tensors)
    return is_float32 and not (torch.is_autocast_enabled(tensors[0].device.type) or torch.compiler.is_compiling())


def _plain(operation: str, tensor: Tensor):
    """The function of an operation made of torch's own ones, which the compiler traces through."""
    return getattr(reference if torch.compiler.is_compiling() else select_backend(tensor, operation), operation)


def _coordinates(**clouds: Tensor) -> list[Tensor]:
    """Clouds of one batch size, device and precision, checked; half precision is widened."""
    for name, points in clouds.items():
        if not isinstance(points, Tensor):
            raise ValueError(f"{name} must be a tensor of shape (B, N, 3), got {type(points).__name__}")
        if points.dim() != 3 or points.shape[-1] != 3:
            raise ValueError(f"{name} must have shape (B, N, 3), got {tuple(points.shape)}")
        if not points.is_floating_point():
            raise ValueError(f"{name} must be floating point, got {points.dtype} of shape {tuple(points.shape)}")
        if points.shape[0] == 0:
            raise ValueError(f"{name} holds no cloud, its shape is {tuple(points.shape)}")
    first, *others = clouds.values()
    for points in others:
        if points.shape[0] != first.shape[0]:
            raise ValueError(f"the batch sizes differ: {first.shape[0]} and {points.shape[0]} ({_shapes(clouds)})")
        if points.device != first.device:
            raise ValueError(f"the devices differ: {first.device} and {points.device} ({_shapes(clouds)})")
    is_double = any(points.dtype == torch.float64 for points in clouds.values())
    return [points.to(torch.float64 if is_double else torch.float32) for points in clouds.values()]


def _shapes(clouds: dict[str, Tensor]) -> str:
    return " and ".join(f"{name} {tuple(points.shape)}" for name, points in clouds.items())


def _check_count(operation: str, name: str, count: int, points: Tensor) -> None:
    if not 1 <= count <= points.shape[1]:
        raise ValueError(
            f"{operation}: {name} is {count}, but the clouds have {points.shape[1]} points "
            f"(points {tuple(points.shape)}); it must lie in 1..{points.shape[1]}"
        )
