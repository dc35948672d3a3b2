"""The public face of the point operations.

Coordinates are (..., 3). They are computed in float32, half precision is widened, also under autocast; double precision
stays double and runs in the reference. Indices are int64. Every operation works on any device, takes tensors of any
stride, and none loops over the batch. NaN and infinite coordinates, and indices out of range, are refused on the CPU;
on a GPU the check would make the processor wait at every call, so it has to be asked for: POINT_OPS_CHECK=1.

Shape legend: B batch, N points, M other points, Q queries, G samples or groups, K neighbours, C channels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from . import library, reference
from .checks import check_coordinates, check_count, check_finite, check_rows
from .dispatch import select_backend

__all__ = ["attention", "chamfer_distance", "cross_attention", "fps", "gather", "group", "knn", "linear_max"]
__all__ += ["patchify", "three_interpolate", "three_nn"]

MAX_POOLED = 256  # points a patch whose place fits into a byte


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
    (points,) = check_coordinates(points=points)
    check_count("fps", "num_samples", num_samples, points)
    if _is_direct(points):
        return library.run_fps(points, num_samples)
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
    points, queries = check_coordinates(points=points, queries=queries)
    check_count("knn", "k", k, points)
    if _is_direct(points, queries):
        return library.run_knn(points, queries, k)
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
    (points,) = check_coordinates(points=points)
    check_count("patchify", "num_groups", num_groups, points)
    check_count("patchify", "group_size", group_size, points)
    if _is_direct(points):
        return library.run_patchify(points, num_groups, group_size)
    return library.patchify(points, num_groups, group_size)


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
    return _plain("gather", features)(features, index.long())


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
    return _plain("group", features)(features, index.long())


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
    return library.three_nn(queries, points)


def three_interpolate(features: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of three neighbours' features (PointNet++, section 3.4).

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
    return _plain("three_interpolate", features)(features, index.long(), weight)


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
    a, b = check_coordinates(a=a, b=b)
    if norm not in (1, 2):
        raise ValueError(f"chamfer_distance: norm is {norm!r}; it must be 1 or 2")
    if a.numel() == 0 or b.numel() == 0:
        raise ValueError(f"chamfer_distance: a cloud is empty: {tuple(a.shape)} against {tuple(b.shape)}")
    is_checked = [not cloud.requires_grad for cloud in (a, b)]
    if torch.compiler.is_compiling():
        is_small = max(a.shape[1], b.shape[1]) <= reference.SMALL_PAIR
        if is_small and a.device.type == "cuda" and a.dtype == torch.float32:
            return library.pairs(a, b, norm, *is_checked)[0]
        (from_a, _), (from_b, _) = library.nearest(a, b, *is_checked), library.nearest(b, a)
        return reference.combine_chamfer(from_a, from_b, norm)
    for name, cloud, is_one in zip("ab", (a, b), is_checked, strict=True):
        if is_one:
            check_finite(name, cloud)
    backend = select_backend(a, "chamfer_distance") if a.dtype == torch.float32 else reference
    return backend.chamfer_distance(a.contiguous(), b.contiguous(), norm)


def linear_max(x: Tensor, weight: Tensor, relu: bool = False) -> Tensor:
    """The maximum over each patch's points of a linear map, as PointNets pool (Qi et al., 2017).

    Args:
        x: (P, K, D) features, in the precision of a matrix product: autocast applies.
        weight: (C, D).
        relu: pool the map of max(x, 0).

    Returns:
        (P, C), differentiable in both (once); the gradient goes to the first of equal points.

    Raises:
        ValueError: a shape does not fit, or there is no point.
    """
    if x.dim() != 3 or weight.dim() != 2 or x.shape[2] != weight.shape[1] or x.shape[1] == 0:
        raise ValueError(
            f"linear_max takes x (P, K, D) with K of at least 1 and weight (C, D), got {tuple(x.shape)} and "
            f"{tuple(weight.shape)}"
        )
    if x.device.type == "cuda" and x.shape[1] <= MAX_POOLED:
        return library.pool_max(F.linear(x.relu() if relu else x, weight))[0]
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


def _is_direct(*clouds: Tensor) -> bool:
    """Whether nobody is there whom the registered operation would serve: no compiler, no gradient, no other tensor.

    Its way through torch's dispatcher takes the host as long as a kernel takes a GPU.
    """
    is_plain = all(type(cloud) is Tensor and not cloud.requires_grad for cloud in clouds)
    return is_plain and not torch.compiler.is_compiling()


def _projected_backend(operation: str, *projected: Tensor):
    return select_backend(projected[0], operation) if _is_plain(*projected) else reference


def _is_plain(*tensors: Tensor) -> bool:
    """Whether kernels of float32 alone may run: autocast and the compiler take the expression made of torch's own."""
    is_float32 = all(x.dtype == torch.float32 for x in tensors)
    return is_float32 and not (torch.is_autocast_enabled(tensors[0].device.type) or torch.compiler.is_compiling())


def _plain(operation: str, tensor: Tensor):
    """The function of an operation made of torch's own ones, which the compiler traces through."""
    return getattr(reference if torch.compiler.is_compiling() else select_backend(tensor, operation), operation)
