"""The definition of the Chamfer distance in plain torch.

Shape legend: B pairs, N points of a, M points of b.
"""

import torch
from torch import Tensor

from ..interpolate.reference import gather
from ..knn import reference as knn

SMALL_PAIR = 64  # points per cloud up to which kernels take a Chamfer distance in one go; an index fits into a byte


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
    wanted = [cloud for cloud in (a, b) if cloud.requires_grad]
    distance = between_chosen(a, b, index_a, index_b, norm)
    grads = iter(torch.autograd.grad(distance, wanted, grad, create_graph=True))
    grad_a, grad_b = (next(grads) if cloud.requires_grad else None for cloud in (a, b))
    return grad_a, grad_b


def between_chosen(a: Tensor, b: Tensor, index_a: Tensor, index_b: Tensor, norm: int, is_huge: bool = False) -> Tensor:
    """The Chamfer distance through chosen pairs (B, N) and (B, M) -> scalar, with all derivatives.

    Norm 1 forms no square, so that it is right for coordinates of any size; `is_huge`: no sum overflows either.
    """
    distances = []
    for difference in (a - gather(b, index_a), b - gather(a, index_b)):
        each = difference.square().sum(dim=-1) if norm == 2 else length(difference)
        distances.append((each / each.numel()).sum() if is_huge else each.mean())
    return (distances[0] + distances[1]) / (1 if norm == 2 else 2)


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
            distance = length(pull).unsqueeze(-1)
            pull = torch.where(distance > 0, pull / distance / 2, 0.0)
        pull = pull * grad / index.numel()
        grad_own += pull
        grad_other.scatter_add_(1, index.unsqueeze(-1).expand_as(pull), -pull)
    return grads


def combine_chamfer(from_a: Tensor, from_b: Tensor, norm: int) -> Tensor:
    """Squared distances (B, N), (B, M) -> scalar."""
    if norm == 2:
        return from_a.mean() + from_b.mean()
    return (safe_sqrt(from_a).mean() + safe_sqrt(from_b).mean()) / 2


def nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance (B, N) of each point of a to its nearest in b, and its index (B, N) int64.

    The search runs without a graph; the gradient goes through the chosen pairs alone, which is the same number and
    keeps (B, N, M) out of the backward pass.
    """
    with torch.no_grad():
        slab = max(1, knn.MAX_SLAB_ELEMENTS // (a.shape[1] * b.shape[1]))
        pairs = zip(a.split(slab), b.split(slab), strict=True)
        index = torch.cat([knn.squared_distances(x, y).argmin(dim=-1) for x, y in pairs])
    return (a - gather(b, index)).square().sum(dim=-1), index


def length(vectors: Tensor) -> Tensor:
    """(..., 3) -> (...) without a square, which may be no number; the gradient at 0 is 0, where there is none."""
    x, y, z = vectors.unbind(-1)
    return _hypotenuse(_hypotenuse(x, y), z)


def _hypotenuse(x: Tensor, y: Tensor) -> Tensor:
    is_zero = (x == 0) & (y == 0)
    return torch.hypot(x.masked_fill(is_zero, 1.0), y).masked_fill(is_zero, 0.0)


def safe_sqrt(squared: Tensor) -> Tensor:
    """Square root with gradient 0 at 0, where the true one is infinite."""
    is_zero = squared == 0
    return squared.masked_fill(is_zero, 1.0).sqrt().masked_fill(is_zero, 0.0)
