"""Several processes, one a GPU, as torchrun starts them. With one process everything here does nothing."""

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist

from pointrecon.utils.errors import InputError


def world_size() -> int:
    """Returns the number of processes."""
    return from_environment("WORLD_SIZE", 1)


def rank() -> int:
    """Returns the number of this process among all, from 0."""
    return from_environment("RANK", 0) if world_size() > 1 else 0


def local_rank() -> int:
    """Returns the number of this process on this machine, from 0: which GPU is its own."""
    return from_environment("LOCAL_RANK", 0) if world_size() > 1 else 0


def is_main() -> bool:
    """Says whether this process is the one that writes files and messages."""
    return rank() == 0


def barrier() -> None:
    """Waits until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Returns the sum of a tensor over the processes, on the tensor's device."""
    if not dist.is_initialized():
        return tensor
    total = tensor.detach().clone().to(_device())
    dist.all_reduce(total)
    return total.to(tensor.device)


def all_reduce_mean(tensor: torch.Tensor) -> torch.Tensor:
    """Returns the mean of a floating-point tensor over the processes, on the tensor's device."""
    return all_reduce_sum(tensor) / world_size() if dist.is_initialized() else tensor


def all_gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Returns the rows of all processes, one process after the other; gradients flow back to whose they are.

    Args:
        rows: (n, ...), n the same in every process.
    """
    if not dist.is_initialized():
        return rows
    return _Gather.apply(rows)


def sum_with_gradient(tensor: torch.Tensor) -> torch.Tensor:
    """Returns the sum of a tensor over the processes; gradients flow back to all of them."""
    return _Sum.apply(tensor) if dist.is_initialized() else tensor


def pass_on(tensor: torch.Tensor) -> torch.Tensor:
    """Gives a tensor to the next process and returns the one of the process before, in a ring; so do gradients.

    Args:
        tensor: of the same shape in every process.
    """
    return _PassOn.apply(tensor) if dist.is_initialized() else tensor


class _Gather(torch.autograd.Function):
    """torch has the same, but not under one name in all its versions."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _Sum.forward(ctx, gradient)


class _PassOn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        return _exchange(tensor, to=1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _exchange(gradient, to=-1)


def _exchange(tensor: torch.Tensor, to: int) -> torch.Tensor:
    """Sends to the process `to` places further in the ring, and receives from the one as far behind."""
    given, taken = tensor.contiguous(), torch.empty_like(tensor, memory_format=torch.contiguous_format)
    there, here = ((rank() + places) % world_size() for places in (to, -to))
    for work in dist.batch_isend_irecv([dist.P2POp(dist.isend, given, there), dist.P2POp(dist.irecv, taken, here)]):
        work.wait()
    return taken


def all_gather_objects(value: Any) -> list[Any]:
    """Returns the values of all processes, in the order of their ranks; anything that pickle takes."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def gather_in_order(rows: list[Any]) -> list[Any]:
    """Returns the rows of all processes in the order of the data set: row i of this one is i * world_size + rank."""
    parts = all_gather_objects(rows)
    return [parts[number % len(parts)][number // len(parts)] for number in range(sum(map(len, parts)))]


@torch.no_grad()
def copy_from_main(tensors: Iterable[torch.Tensor]) -> None:
    """Overwrites tensors with those of the main process, the same ones in the same order in every process."""
    if not dist.is_initialized():
        return
    for tensor in tensors:
        copy = tensor.to(_device())
        dist.broadcast(copy, src=0)
        tensor.copy_(copy)


def _device() -> torch.device:
    return torch.device("cuda", local_rank()) if dist.get_backend() == "nccl" else torch.device("cpu")


def from_environment(name: str, default: int) -> int:
    """Returns a whole number that torchrun or the user has set, the default where the variable is not set or empty.

    Raises:
        InputError: It is something else.
    """
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdigit():
        raise InputError(f"environment variable {name} is '{text}', but must be a whole number, as torchrun sets it")
    return int(text)
