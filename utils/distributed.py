"""Several processes, one a GPU, as torchrun starts them. With one process everything here does nothing."""

import os
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist

from utils.errors import InputError


def world_size() -> int:
    """Returns the number of processes."""
    return _from_environment("WORLD_SIZE", 1)


def rank() -> int:
    """Returns the number of this process among all, from 0."""
    return _from_environment("RANK", 0) if world_size() > 1 else 0


def local_rank() -> int:
    """Returns the number of this process on this machine, from 0: which GPU is its own."""
    return _from_environment("LOCAL_RANK", 0) if world_size() > 1 else 0


def is_main() -> bool:
    """Says whether this process is the one that writes files and messages."""
    return rank() == 0


def init(device_type: str) -> None:
    """Connects the processes.

    Args:
        device_type: "cuda" (over NCCL) or anything else (over gloo).

    Raises:
        InputError: The environment is not the one that torchrun makes.
    """
    if world_size() == 1 or dist.is_initialized():
        return
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise InputError(
            f"WORLD_SIZE is {world_size()}, but {', '.join(missing)} not set; start with "
            "torchrun --nproc_per_node=N main.py ..."
        )
    if device_type == "cuda":
        torch.cuda.set_device(local_rank())
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo")


def cleanup() -> None:
    """Disconnects the processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


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


def all_reduce_mean(values: torch.Tensor | Mapping[str, torch.Tensor | float]) -> torch.Tensor | dict[str, float]:
    """Returns the mean over the processes.

    Args:
        values: A floating-point tensor, or scalars by name, the same names in every process.

    Returns:
        A tensor for a tensor, floats by name for scalars by name.
    """
    if isinstance(values, torch.Tensor):
        return all_reduce_sum(values) / world_size() if dist.is_initialized() else values
    numbers = torch.tensor([float(value) for value in values.values()], dtype=torch.float64)
    return dict(zip(values, all_reduce_mean(numbers).tolist(), strict=True))


def all_gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Returns the rows of all processes, one process after the other; gradients flow back to whose they are.

    Args:
        rows: (n, ...), n the same in every process.
    """
    if not dist.is_initialized():
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(rows.contiguous()))


def all_gather_objects(value: Any) -> list[Any]:
    """Returns the values of all processes, in the order of their ranks; anything that pickle takes."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def _device() -> torch.device:
    return torch.device("cuda", local_rank()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _from_environment(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdigit():
        raise InputError(f"environment variable {name} is '{text}', but must be a whole number, as torchrun sets it")
    return int(text)
