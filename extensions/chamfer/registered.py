"""What the Chamfer distance is made of, as operations of torch: nearest points, and small pairs in one go.

Shape legend: B pairs, N points of a, M points of b.
"""

from typing import Any

import torch
from torch import Tensor

from ..checks import check_finite
from ..dispatch import select_backend, select_function
from ..interpolate.registered import distance_backward, save_distances
from ..registry import register


def nearest(a: Tensor, b: Tensor, check_a: bool = False, check_b: bool = False) -> tuple[Tensor, Tensor]:
    """Squared distances (B, N) to the nearest in b, and which it is; coordinates are checked on request."""
    check_chosen(a, b, check_a, check_b)
    return select_function(a, "nearest")(a.contiguous(), b.contiguous())


def pairs(
    a: Tensor, b: Tensor, norm: int, check_a: bool = False, check_b: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """The distance of clouds of at most `reference.SMALL_PAIR` points, and which points it is made of, int8."""
    check_chosen(a, b, check_a, check_b)
    return select_backend(a, "pairs_forward").pairs_forward(a.contiguous(), b.contiguous(), norm)


def pairs_backward(
    a: Tensor, b: Tensor, nearest_b: Tensor, nearest_a: Tensor, grad: Tensor, norm: int
) -> tuple[Tensor, Tensor]:
    """Gradients (B, N, 3) and (B, M, 3) of what `pairs` was given; grad is that of the scalar."""
    function = select_backend(a, "pairs_backward").pairs_backward
    return function(a.contiguous(), b.contiguous(), nearest_b, nearest_a, grad, norm)


def check_chosen(a: Tensor, b: Tensor, check_a: bool, check_b: bool) -> None:
    """Refuses coordinates that are not finite of those clouds that no network put out.

    Raises:
        ValueError: one is not.
    """
    for name, cloud, is_checked in (("a", a, check_a), ("b", b, check_b)):
        if is_checked:
            check_finite(name, cloud)


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
