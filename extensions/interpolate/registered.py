"""The three nearest points as an operation of torch.

Shape legend: B batch, N points, Q queries, K neighbors.
"""

from typing import Any

import torch
from torch import Tensor

from ..checks import prepare
from ..dispatch import select_function
from ..registry import register
from .reference import group, squared_to


def three_nn(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """The operation itself, checked, without torch's dispatcher; see `ops.three_nn`."""
    (queries, points), searched = prepare(queries=queries, points=points)
    squared, index = select_function(points, "three_nn")(*searched)
    return squared if searched[0] is queries else squared_to(queries, points, index), index


def _fake(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    return queries.new_empty(queries.shape), queries.new_empty(queries.shape, dtype=torch.int64)


def save_distances(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """What `distance_backward` needs."""
    ctx.save_for_backward(*inputs[:2], output[1])
    ctx.num_options = len(inputs) - 2
    ctx.mark_non_differentiable(output[1])


def distance_backward(ctx: Any, grad_squared: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    """Of squared distances (B, Q, K) or (B, Q) to chosen points: through the chosen pairs alone."""
    queries, points, index = ctx.saved_tensors
    num_chosen = 1 if index.dim() == 2 else index.shape[2]
    shape = (*queries.shape[:2], num_chosen)
    index, grad = index.reshape(shape), grad_squared.reshape(shape)
    part = 2 * grad.unsqueeze(-1) * (queries.unsqueeze(2) - group(points, index))
    rows = index.flatten(1).unsqueeze(-1).expand(-1, -1, 3)
    grad_points = torch.zeros_like(points).scatter_add(1, rows, -part.flatten(1, 2))
    return part.sum(dim=2), grad_points, *[None] * ctx.num_options


registered_three_nn = register(three_nn, _fake, save_distances, distance_backward)
