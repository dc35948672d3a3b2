"""The maximum over the points of a patch as an operation of torch.

Shape legend: P patches, K points per patch, C channels.
"""

from typing import Any

import torch
from torch import Tensor

from ..dispatch import select_backend
from ..registry import register
from . import reference

KERNEL_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def pool_max(x: Tensor) -> tuple[Tensor, Tensor]:
    """(P, K, C) -> the maximum over K (P, C), NaN if there is one, and its place (P, C) uint8; K at most 256."""
    backend = select_backend(x, "pool_max") if x.dtype in KERNEL_TYPES else reference
    return backend.pool_max(x.contiguous())


def _fake(x: Tensor) -> tuple[Tensor, Tensor]:
    values = x.new_empty(x.shape[0], x.shape[2])
    return values, torch.empty_like(values, dtype=torch.uint8)


def _save(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])
    ctx.num_points = inputs[0].shape[1]
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> Tensor:
    (index,) = ctx.saved_tensors
    rows = grad.new_zeros(grad.shape[0], ctx.num_points, grad.shape[1])
    return rows.scatter(1, index.long().unsqueeze(1), grad.unsqueeze(1))


registered_pool_max = register(pool_max, _fake, _save, _backward)
