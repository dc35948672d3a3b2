"""Plain torch definitions of the point operations: the truth that every other backend is tested against.

Shape legend: B batch, N points, M other points, Q queries, G samples, K neighbours, C channels.
"""

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

# Distances are formed a slab of queries at a time, so that memory stays bounded for large clouds.
MAX_SLAB_ELEMENTS = 1 << 25
# Tokens up to which the memory-efficient kernel beats cuDNN's and FlashAttention's on a GPU: for both passes over 26
# tokens 41 against 56 and 98 us (H200, batch 128, 6 heads of 64, bf16), over 64 tokens 53 against 78 and 113 us.
SHORT_SEQUENCE = 64
FOR_SHORT = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
SMALL_PAIR = 64  # points a cloud up to which kernels take a Chamfer distance in one go; an index fits into a byte


@torch.no_grad()
def fps(points: Tensor, num_samples: int) -> Tensor:
    """(B, N, 3) -> (B, G) int64; see `ops.fps`."""
    x, y, z = points.permute(2, 0, 1).contiguous()  # three (B, N) planes: the inner loop stays contiguous
    batch = torch.arange(points.shape[0], device=points.device)
    picked = torch.zeros(points.shape[0], num_samples, dtype=torch.int64, device=points.device)
    nearest = torch.full_like(x, float("inf"))  # squared distance to the nearest picked point
    last = picked[:, 0]
    for step in range(1, num_samples):
        dx, dy, dz = (plane - plane[batch, last].unsqueeze(1) for plane in (x, y, z))
        nearest = torch.minimum(nearest, dx * dx + dy * dy + dz * dz)
        last = nearest.argmax(dim=1)  # the first of equal maxima on CPU
        if points.device.type != "cpu":
            last = _first_maximum(nearest)
        picked[:, step] = last
    return picked


def _first_maximum(values: Tensor) -> Tensor:
    """(B, N) -> (B,) lowest index of the maximum: argmax promises no order among ties off the CPU."""
    is_maximum = values == values.max(dim=1, keepdim=True).values
    order = torch.arange(values.shape[1], 0, -1, device=values.device)
    return (is_maximum * order).argmax(dim=1)


def squared_distances(queries: Tensor, points: Tensor) -> Tensor:
    """(B, Q, 3), (B, N, 3) -> (B, Q, N), in the direct form.

    |a|^2 - 2ab + |b|^2, which `torch.cdist` falls back to for larger inputs, cancels and misplaces neighbours.
    """
    total = None
    for axis in range(3):
        difference = queries[..., axis].unsqueeze(2) - points[..., axis].unsqueeze(1)
        total = difference * difference if total is None else total + difference * difference
    return total


@torch.no_grad()
def knn(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """(B, N, 3), (B, Q, 3) -> (B, Q, k) int64; see `ops.knn`."""
    slab = max(1, MAX_SLAB_ELEMENTS // max(1, points.shape[0] * points.shape[1]))
    return torch.cat([_knn_slab(points, part, k) for part in queries.split(slab, dim=1)], dim=1)


def _knn_slab(points: Tensor, queries: Tensor, k: int) -> Tensor:
    distance = squared_distances(queries, points)
    if k == points.shape[1]:
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


def gather(features: Tensor, index: Tensor) -> Tensor:
    """(B, N, C), (B, G) -> (B, G, C); see `ops.gather`."""
    return features.gather(1, index.unsqueeze(-1).expand(-1, -1, features.shape[-1]))


def group(features: Tensor, index: Tensor) -> Tensor:
    """(B, N, C), (B, Q, K) -> (B, Q, K, C); see `ops.group`."""
    return gather(features, index.flatten(1)).unflatten(1, index.shape[1:])


def three_nn(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """(B, Q, 3), (B, N, 3) -> (B, Q, 3) squared distances, (B, Q, 3) int64; see `ops.three_nn`."""
    index = knn(points, queries, 3)
    difference = queries.unsqueeze(2) - group(points, index)
    return difference.square().sum(dim=-1), index


def three_interpolate(features: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """(B, N, C), (B, Q, 3), (B, Q, 3) -> (B, Q, C); see `ops.three_interpolate`."""
    return (group(features, index) * weight.unsqueeze(-1)).sum(dim=2)


def patchify(points: Tensor, num_groups: int, group_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, 3) -> (B, G, 3), (B, G, K, 3), (B, G, K) int64; see `ops.patchify`."""
    centers = gather(points, fps(points, num_groups))
    index = knn(points, centers, group_size)
    return centers, group(points, index) - centers.unsqueeze(2), index


def chamfer_distance(a: Tensor, b: Tensor, norm: int = 2) -> Tensor:
    """(B, N, 3), (B, M, 3) -> scalar; see `ops.chamfer_distance`."""
    (from_a, _), (from_b, _) = nearest(a, b), nearest(b, a)
    return combine_chamfer(from_a, from_b, norm)


def chamfer_gradient(
    a: Tensor, b: Tensor, index_a: Tensor, index_b: Tensor, norm: int, grad: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of `chamfer_distance` in a and b with a graph of their own, None where none is asked for.

    For the backends: their kernels give the gradient alone, and second derivatives need the graph.

    Args:
        a: (B, N, 3).
        b: (B, M, 3).
        index_a: (B, N) int64, which point of b is nearest.
        index_b: (B, M) int64, which point of a is nearest.
        norm: 1 or 2.
        grad: (), what comes from above.
    """
    from_a = (a - gather(b, index_a)).square().sum(dim=-1)
    from_b = (b - gather(a, index_b)).square().sum(dim=-1)
    wanted = [cloud for cloud in (a, b) if cloud.requires_grad]
    grads = iter(torch.autograd.grad(combine_chamfer(from_a, from_b, norm), wanted, grad, create_graph=True))
    return tuple(next(grads) if cloud.requires_grad else None for cloud in (a, b))


def pairs_forward(a: Tensor, b: Tensor, norm: int) -> tuple[Tensor, Tensor, Tensor]:
    """The Chamfer distance and which points it is made of: a scalar, (B, N) and (B, M) int8; N and M small."""
    (from_a, nearest_b), (from_b, nearest_a) = nearest(a, b), nearest(b, a)
    return combine_chamfer(from_a, from_b, norm), nearest_b.to(torch.int8), nearest_a.to(torch.int8)


def pairs_backward(
    a: Tensor, b: Tensor, nearest_b: Tensor, nearest_a: Tensor, grad: Tensor, norm: int
) -> tuple[Tensor, Tensor]:
    """Gradients (B, N, 3) and (B, M, 3) of what `pairs_forward` was given; grad is that of the scalar."""
    grads = torch.zeros_like(a), torch.zeros_like(b)
    for (own, other), (grad_own, grad_other), index in (((a, b), grads, nearest_b), ((b, a), grads[::-1], nearest_a)):
        index = index.long()
        pull = 2 * (own - gather(other, index))
        if norm == 1:
            distance = pull.norm(dim=-1, keepdim=True) / 2
            pull = torch.where(distance > 0, pull / (4 * distance), 0.0)
        pull = pull * grad / index.numel()
        grad_own += pull
        grad_other.scatter_add_(1, index.unsqueeze(-1).expand_as(pull), -pull)
    return grads


def combine_chamfer(from_a: Tensor, from_b: Tensor, norm: int) -> Tensor:
    """Squared distances (B, N), (B, M) -> scalar."""
    if norm == 2:
        return from_a.mean() + from_b.mean()
    return (_safe_sqrt(from_a).mean() + _safe_sqrt(from_b).mean()) / 2


def nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance (B, N) of each point of a to its nearest in b, and its index (B, N) int64.

    The search runs without a graph; the gradient goes through the chosen pairs alone, which is the same number and
    keeps (B, N, M) out of the backward pass.
    """
    with torch.no_grad():
        slab = max(1, MAX_SLAB_ELEMENTS // (a.shape[1] * b.shape[1]))
        pairs = zip(a.split(slab), b.split(slab), strict=True)
        index = torch.cat([squared_distances(x, y).argmin(dim=-1) for x, y in pairs])
    return (a - gather(b, index)).square().sum(dim=-1), index


def linear_max(x: Tensor, weight: Tensor, relu: bool = False) -> Tensor:
    """(P, K, D), (C, D) -> (P, C); see `ops.linear_max`."""
    return ((x.relu() if relu else x) @ weight.T).max(dim=1).values


def pool_max(x: Tensor) -> tuple[Tensor, Tensor]:
    """(P, K, C) -> the maximum over K (P, C), NaN if there is one, and its place (P, C) uint8; K at most 256."""
    values, index = x.max(dim=1)
    return values, index.to(torch.uint8)


def attention(qkv: Tensor) -> Tensor:
    """(B, T, 3, H, D) -> (B, T, H * D); see `ops.attention`."""
    return _attend(*(x.transpose(1, 2) for x in qkv.unbind(2)))


def cross_attention(q: Tensor, kv: Tensor) -> Tensor:
    """(B, Q, H, D), (B, T, 2, H, D) -> (B, Q, H * D); see `ops.cross_attention`."""
    return _attend(q.transpose(1, 2), *(x.transpose(1, 2) for x in kv.unbind(2)))


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(B, H, Q, D), two (B, H, T, D) -> (B, Q, H * D)."""
    is_short = q.device.type == "cuda" and k.shape[2] <= SHORT_SEQUENCE
    with sdpa_kernel(FOR_SHORT) if is_short else nullcontext():
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _safe_sqrt(squared: Tensor) -> Tensor:
    """Square root with gradient 0 at 0, where the true one is infinite."""
    is_zero = squared == 0
    return squared.masked_fill(is_zero, 1.0).sqrt().masked_fill(is_zero, 0.0)
