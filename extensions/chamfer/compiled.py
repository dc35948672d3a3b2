"""The Chamfer distance by the CPU library.

Shape legend: B pairs, N points of a, M points of b.
"""

from typing import Any

import torch
from torch import Tensor

from ..backends.library import Function
from . import reference

_nearest = Function("point_ops_nearest", 2, 3, 2)
_nearest_backward = Function("point_ops_nearest_backward", 4, 3, 2)


def nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N, 3), (B, M, 3) -> (B, N) squared distance to the nearest in b and its index, without a graph."""
    batch, num_points, _ = a.shape
    squared, index = a.new_empty(batch, num_points), a.new_empty(batch, num_points, dtype=torch.int64)
    _nearest(a, b, batch, num_points, b.shape[1], squared, index)
    return squared, index


def chamfer_distance(a: Tensor, b: Tensor, norm: int = 2) -> Tensor:
    """(B, N, 3), (B, M, 3) -> scalar; see `ops.chamfer_distance`."""
    return _Chamfer.apply(a, b, norm)


class _Chamfer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, norm: int) -> Tensor:
        (from_a, index_a), (from_b, index_b) = nearest(a, b), nearest(b, a)
        ctx.norm = norm
        ctx.save_for_backward(a, b, from_a, index_a, from_b, index_b)
        if norm == 2:
            return from_a.mean() + from_b.mean()
        return (from_a.sqrt().mean() + from_b.sqrt().mean()) / 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        a, b, from_a, index_a, from_b, index_b = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient may be asked for
            return *reference.chamfer_gradient(a, b, index_a, index_b, ctx.norm, grad), None
        grad_a, grad_b = torch.zeros_like(a), torch.zeros_like(b)
        _add_gradient(a, b, index_a, _slope(from_a, grad, ctx.norm), grad_a, grad_b)
        _add_gradient(b, a, index_b, _slope(from_b, grad, ctx.norm), grad_b, grad_a)
        return grad_a, grad_b, None


def _slope(squared: Tensor, grad: Tensor, norm: int) -> Tensor:
    """Gradient of the loss in each squared distance; 0 at distance 0, where the root has none."""
    share = grad / squared.numel()
    if norm == 2:
        return share.expand_as(squared).contiguous()
    return (share / 4 * squared.rsqrt()).masked_fill_(squared == 0, 0.0)


def _add_gradient(a: Tensor, b: Tensor, index: Tensor, slope: Tensor, grad_a: Tensor, grad_b: Tensor) -> None:
    _nearest_backward(a, b, index, slope, *a.shape[:2], b.shape[1], grad_a, grad_b)
