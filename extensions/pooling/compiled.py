"""The maximum over points of a linear map by the CPU library: a backward pass that knows which point has it.

Shape legend: P patches, K points per patch, D width of a point, C channels.
"""

from typing import Any

import torch
from torch import Tensor

from ..backends.first_order import first_order
from ..backends.library import Function

_patch_max = Function("point_ops_patch_max", 1, 3, 2)
_linear_max_backward = Function("point_ops_linear_max_backward", 4, 5, 2)


def linear_max(x: Tensor, weight: Tensor, relu: bool = False) -> Tensor:
    """(P, K, D), (C, D) -> (P, C); see `ops.linear_max`."""
    return _LinearMax.apply(x.contiguous(), weight.contiguous(), relu)


class _LinearMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, relu: bool) -> Tensor:
        x = x.relu() if relu else x
        num_patches, num_points, _ = x.shape
        best = x.new_empty(num_patches, len(weight))
        where = x.new_empty(best.shape, dtype=torch.int32)
        _patch_max(x @ weight.T, num_patches, num_points, len(weight), best, where)
        ctx.save_for_backward(x, weight, where)
        ctx.relu = relu
        return best

    @staticmethod
    @first_order("linear_max", "POINT_OPS=reference has it")
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, where = ctx.saved_tensors
        grad_x, grad_weight = torch.empty_like(x), torch.empty_like(weight)
        sizes = (*x.shape[:2], *weight.shape, int(ctx.relu))
        _linear_max_backward(grad.contiguous(), where, x, weight, *sizes, grad_x, grad_weight)
        return grad_x, grad_weight, None
