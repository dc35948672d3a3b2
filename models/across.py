"""What networks and losses ask of the other processes that train with them. Nothing else here knows of processes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pointrecon.utils.processes import distributed


def is_alone() -> bool:
    """Whether one process trains."""
    return distributed.world_size() == 1


def gather_rows(rows: Tensor) -> tuple[Tensor, int]:
    """The rows of all processes, and the number of this one's first row among them.

    Args:
        rows: (n, ...), n the same in every process; gradients flow back to whose they are.
    """
    return distributed.all_gather_rows(rows), distributed.rank() * len(rows)


def pass_round(rows: Tensor) -> Iterator[tuple[Tensor, bool]]:
    """The rows of each process in turn, and whether they are this one's; there are never those of two others at once.

    Args:
        rows: of the same shape in every process; gradients flow back to whose they are. All processes take them all.
    """
    for number in range(distributed.world_size()):
        rows = distributed.pass_on(rows) if number else rows
        yield rows, not number


def mean_over_processes(count: Tensor) -> Tensor:
    """The mean of a number over the processes, without a gradient."""
    return count if is_alone() else distributed.all_reduce_sum(count) / distributed.world_size()


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of a tensor over the processes; gradients flow back to all of them."""
    return distributed.sum_with_gradient(x)


def count_rows(like: Tensor, count: int) -> Tensor:
    """The number of rows of all processes together, on the device and of the type of a tensor."""
    return distributed.all_reduce_sum(torch.full((), count, dtype=like.dtype, device=like.device))
