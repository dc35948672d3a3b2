"""What the Chamfer distance is made of, as operations of torch: nearest points, and small pairs in one go.

Shape legend: B pairs, N points of a, M points of b.
"""

from typing import Any

import torch
from torch import Tensor

from ..checks import find_scale, prepare
from ..dispatch import select_backend, select_function
from ..interpolate.reference import squared_to
from ..interpolate.registered import distance_backward, save_distances
from ..registry import register
from . import reference


def chamfer(a: Tensor, b: Tensor, norm: int, check_a: bool, check_b: bool) -> Tensor:
    """The distance of plain tensors, checked, without torch's dispatcher; see `ops.chamfer_distance`."""
    a, b = a.contiguous(), b.contiguous()
    scale = find_scale(_tolerated(check_a, check_b), a=a, b=b)
    if scale is None:
        return select_function(a, "chamfer_distance")(a, b, norm)
    one, two = a.detach() / scale, b.detach() / scale
    search = select_function(a, "nearest")
    return reference.between_chosen(a, b, search(one, two)[1], search(two, one)[1], norm, bool((scale > 1).any()))


def nearest(a: Tensor, b: Tensor, check_a: bool = False, check_b: bool = False) -> tuple[Tensor, Tensor]:
    """Squared distances (B, N) to the nearest in b, and which it is; coordinates are checked on request."""
    (a, b), searched = prepare(_tolerated(check_a, check_b), a=a, b=b)
    squared, index = select_function(a, "nearest")(*searched)
    return squared if searched[0] is a else squared_to(a, b, index.unsqueeze(-1)).squeeze(-1), index


def pairs(
    a: Tensor, b: Tensor, norm: int, check_a: bool = False, check_b: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """The distance of clouds of at most `reference.SMALL_PAIR` points, and which points it is made of, int8."""
    a, b = a.contiguous(), b.contiguous()
    scale = find_scale(_tolerated(check_a, check_b), a=a, b=b)
    function = select_backend(a, "pairs_forward").pairs_forward
    if scale is None:
        return function(a, b, norm)
    _, nearest_b, nearest_a = function(a / scale, b / scale, norm)
    is_huge = bool((scale > 1).any())
    distance = reference.between_chosen(a, b, nearest_b.long(), nearest_a.long(), norm, is_huge)
    return distance, nearest_b, nearest_a


def pairs_backward(
    a: Tensor, b: Tensor, nearest_b: Tensor, nearest_a: Tensor, grad: Tensor, norm: int
) -> tuple[Tensor, Tensor]:
    """Gradients (B, N, 3) and (B, M, 3) of what `pairs` was given; grad is that of the scalar."""
    a, b = a.contiguous(), b.contiguous()
    is_scaled = find_scale(("a", "b"), a=a, b=b) is not None
    backend = reference if is_scaled else select_backend(a, "pairs_backward")
    return backend.pairs_backward(a, b, nearest_b, nearest_a, grad, norm)


def _tolerated(check_a: bool, check_b: bool) -> list[str]:
    return [name for name, is_checked in (("a", check_a), ("b", check_b)) if not is_checked]


def _fake_nearest(a: Tensor, b: Tensor, check_a: bool = False, check_b: bool = False) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape[:2]), a.new_empty(a.shape[:2], dtype=torch.int64)


def _fake_pairs(
    a: Tensor, b: Tensor, norm: int, check_a: bool = False, check_b: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    nearest_b, nearest_a = (cloud.new_empty(cloud.shape[:2], dtype=torch.int8) for cloud in (a, b))
    return a.new_empty(()), nearest_b, nearest_a


def _fake_pairs_backward(
    a: Tensor, b: Tensor, nearest_b: Tensor, nearest_a: Tensor, grad: Tensor, norm: int
) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape), b.new_empty(b.shape)


def _save_pairs(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:2], *output[1:])
    ctx.norm, ctx.num_options = inputs[2], len(inputs) - 2
    ctx.mark_non_differentiable(*output[1:])


def _backward_of_pairs(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    return *registered_pairs_backward(*ctx.saved_tensors, grad, ctx.norm), *[None] * ctx.num_options


registered_nearest = register(nearest, _fake_nearest, save_distances, distance_backward)
registered_pairs_backward = register(pairs_backward, _fake_pairs_backward)
registered_pairs = register(pairs, _fake_pairs, _save_pairs, _backward_of_pairs)
