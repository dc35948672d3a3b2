"""Several processes, one a GPU, as torchrun starts them. With one process everything here does nothing."""

import os
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from pointrecon.utils.errors import InputError

TIMEOUT = "RECON_TIMEOUT"  # environment variable: seconds that a process waits for the others in one exchange
DEFAULT_TIMEOUT = 1800
GRACE = 5.0  # seconds in which the process that failed first has the word
_FAILED, _WAITED = "recon/failed", "recon/waited/"
_ENDED = "another process has ended, so this one ends too; the other one's own message says why"
# What gloo's errors have in them if another process has ended or does not answer.
_LOST = ("gloo", "Application timeout", "Connection closed by peer", "Connection reset by peer", "Socket Timeout")


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


def is_restarted() -> bool:
    """Says whether torchrun starts the processes again if one fails (--max-restarts)."""
    return _from_environment("TORCHELASTIC_MAX_RESTARTS", 0) > 0


def init(device_type: str) -> None:
    """Connects the processes.

    Args:
        device_type: "cuda" (over NCCL) or anything else (over gloo).

    Raises:
        InputError: The environment is not the one that torchrun makes, or the other processes do not come.
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
    seconds = timeout()
    try:
        dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=timedelta(seconds=seconds))
    except dist.DistError as error:
        raise InputError(
            f"{world_size()} processes could not be connected at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']} within {seconds} s ({str(error).splitlines()[0]}); look whether all of them "
            f"were started and reach that address, or raise {TIMEOUT}=SECONDS"
        ) from error


def timeout() -> int:
    """Returns the seconds that a process waits for the others in one exchange before it gives up."""
    seconds = _from_environment(TIMEOUT, DEFAULT_TIMEOUT)
    if not seconds:
        raise InputError(f"environment variable {TIMEOUT} is 0, but must be at least 1 second")
    return seconds


def cleanup(error: BaseException | None = None) -> None:
    """Disconnects this process at the end of a run.

    Args:
        error: What ends it early. If it is an error of its own, the connection stays until the process has ended, so
            that the others, who notice by the lost connection, have nothing to say before it.

    Raises:
        SystemExit: The error comes from another process that has ended or hangs: one sentence takes its place, after a
            while in which the other one's own can be seen.
    """
    if not dist.is_initialized():
        return
    if isinstance(error, SystemExit) and has_failed():
        return
    if error is None or isinstance(error, SystemExit):
        dist.destroy_process_group()
        return
    is_lost = isinstance(error, dist.DistError) or any(sign in str(error) for sign in _LOST)
    is_late = is_lost and ("imed out" in str(error) or "timeout" in str(error).lower())
    _note(_FAILED, *([f"{_WAITED}{rank()}"] if is_late else []))
    if is_lost:
        time.sleep(GRACE)
        raise SystemExit(f"error: process {rank()}: {_describe_silence() if is_late else _ENDED}")


def has_failed() -> bool:
    """Says whether a process has ended with an error, as far as is known."""
    if not dist.is_initialized():
        return False
    try:
        return _store().check([_FAILED])
    except (RuntimeError, OSError):  # who kept this is gone itself
        return True


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
    return _Gather.apply(rows)


def sum_with_gradient(tensor: torch.Tensor) -> torch.Tensor:
    """Returns the sum of a tensor over the processes; gradients flow back to all of them."""
    return _Sum.apply(tensor) if dist.is_initialized() else tensor


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


def _store() -> dist.Store:
    return dist.distributed_c10d._get_default_store()


def _note(*keys: str) -> None:
    try:
        for key in keys:
            _store().set(key, "1")
    except (RuntimeError, OSError):
        return  # nobody is left to be told


def _describe_silence() -> str:
    try:
        silent = [number for number in range(world_size()) if not _store().check([f"{_WAITED}{number}"])]
    except (RuntimeError, OSError):
        silent = []
    who = f"process {', '.join(map(str, silent))}" if silent else "another process"
    return (
        f"waited {timeout()} s in vain for {who}; look what it does (its log, py-spy dump), or raise {TIMEOUT}=SECONDS "
        "if it only needs longer"
    )


def _device() -> torch.device:
    return torch.device("cuda", local_rank()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _from_environment(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdigit():
        raise InputError(f"environment variable {name} is '{text}', but must be a whole number, as torchrun sets it")
    return int(text)
