"""Overlapping patches as an operation of torch.

Shape legend: B batch, N points, G groups, K points per group.
"""

from typing import Any

import torch
from torch import Tensor

from ..checks import prepare
from ..dispatch import select_function
from ..fps.registered import registered_fps
from ..interpolate.reference import gather
from ..registry import register
from .reference import cut


def patchify(points: Tensor, num_groups: int, group_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The operation itself, checked, without torch's dispatcher; see `ops.patchify`."""
    (points,), (searched,) = prepare(points=points)
    if searched is points:
        return select_function(points, "patchify")(points, num_groups, group_size)
    picked = select_function(points, "fps")(searched, num_groups)
    index = select_function(points, "knn")(searched, gather(searched, picked), group_size)
    return *cut(points, picked, index), index


def _fake(points: Tensor, num_groups: int, group_size: int) -> tuple[Tensor, Tensor, Tensor]:
    shape = (points.shape[0], num_groups, group_size)
    index = points.new_empty(shape, dtype=torch.int64)
    return points.new_empty(*shape[:2], 3), points.new_empty(*shape, 3), index


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    points, ctx.num_groups, _ = inputs
    ctx.save_for_backward(points, output[2])
    ctx.mark_non_differentiable(output[2])


def _backward(ctx: Any, grad_centers: Tensor, grad_patches: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
    """Each point of a patch has the patch's gradient; the centre has its own, and the patch's is subtracted from it."""
    points, index = ctx.saved_tensors
    # Which points the centres are is not kept: a patch begins with its centre, or with another point in the same place.
    picked = registered_fps(points.detach(), ctx.num_groups)
    grads = torch.cat([grad_centers - grad_patches.sum(dim=2), grad_patches.flatten(1, 2)], dim=1)
    rows = torch.cat([picked, index.flatten(1)], dim=1).unsqueeze(-1).expand_as(grads)
    return torch.zeros_like(points).scatter_add(1, rows, grads), None, None


registered_patchify = register(patchify, _fake, _save, _backward)
