"""Connects the processes of a run, and says when one of them has failed."""

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from pointrecon.utils.errors import InputError
from pointrecon.utils.processes.distributed import from_environment, local_rank, rank, world_size

TIMEOUT = "RECON_TIMEOUT"  # environment variable: seconds that a process waits for the others in one exchange
DEFAULT_TIMEOUT = 1800
# Environment variable: the command is run again by itself, so --resume starts a run that has no checkpoint yet.
REQUEUED = "RECON_REQUEUED"
GRACE = 5.0  # seconds in which the process that failed first has the word
STORE_TIMEOUT = 5.0  # seconds that the store, which lives in another process, has for an answer
_FAILED, _WAITED = "recon/failed", "recon/waited/"
_ENDED = "another process has ended, so this one ends too; the other one's own message says why"
# What gloo's errors have in them if another process has ended or does not answer.
_LOST = ("gloo", "Application timeout", "Connection closed by peer", "Connection reset by peer", "Socket Timeout")
# Launchers that start tasks without connecting them: who it is, what it numbers them by, where it says how many.
_LAUNCHERS = (
    ("srun", "SLURM_STEP_ID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")),
    ("mpirun", "OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",)),
    ("mpirun", "PMI_RANK", ("PMI_SIZE",)),
)
_NO_STEP = 1 << 31  # Slurm numbers a batch script and an interactive shell from the top of 32 bits
T = TypeVar("T")


class PeerError(RuntimeError):
    """Another process tells what has gone wrong; this one only has to end."""


def is_restarted() -> bool:
    """Says whether the same command is run again if it fails or is stopped: by torchrun (--max-restarts) or Slurm."""
    return from_environment("TORCHELASTIC_MAX_RESTARTS", 0) > 0 or bool(os.environ.get(REQUEUED))


def check_launch() -> None:
    """Refuses to be one of several tasks that nothing connects: each would be a run of its own in the same folder.

    Raises:
        InputError: srun or mpirun has started several tasks, but not torchrun's environment.
    """
    if os.environ.get("WORLD_SIZE"):
        return
    for launcher, mark, counts in _LAUNCHERS:
        number = os.environ.get(mark, "")
        count = next((os.environ[name] for name in counts if os.environ.get(name)), "1")
        if number.isdigit() and int(number) < _NO_STEP and count.isdigit() and int(count) > 1:
            raise InputError(
                f"{launcher} has started {count} tasks, but they do not know each other (WORLD_SIZE not set): start "
                "one task a node with torchrun in it, as scripts/slurm.sh does, or a single task for one process"
            )


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
    wait = timedelta(seconds=seconds)
    try:
        backend, store = "nccl" if device_type == "cuda" else "gloo", _store_of_attempt(wait)
        if store is None:
            dist.init_process_group(backend, timeout=wait)
        else:
            dist.init_process_group(backend, timeout=wait, store=store, rank=rank(), world_size=world_size())
        if rank() == 0:
            _forget_failures()
    except RuntimeError as error:  # gloo has no type of its own for it
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{world_size()} processes could not be connected at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']} within {seconds} s ({reason}); look whether all of them "
            f"were started and reach that address, or raise {TIMEOUT}=SECONDS"
        ) from error


def _store_of_attempt(wait: timedelta) -> dist.Store | None:
    """A store whose keys are those of this attempt alone, None where torch's own does.

    torchrun keeps one store for all attempts, and a process that is started again can read there the address of one
    that died in the attempt before. With several agents this does not help: each counts restarts for itself.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT")
    if attempt is None or from_environment("GROUP_WORLD_SIZE", 1) != 1:
        return None
    store, _, _ = next(dist.rendezvous("env://", rank(), world_size(), timeout=wait))
    store.set_timeout(wait)
    return dist.PrefixStore(f"attempt{attempt}", store)


def timeout() -> int:
    """Returns the seconds that a process waits for the others in one exchange before it gives up."""
    seconds = from_environment(TIMEOUT, DEFAULT_TIMEOUT)
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
    is_lost = isinstance(error, (dist.DistError, PeerError)) or any(sign in str(error) for sign in _LOST)
    is_late = is_lost and ("imed out" in str(error) or "timeout" in str(error).lower())
    _note(_FAILED, *([f"{_WAITED}{rank()}"] if is_late else []))
    if is_lost:
        time.sleep(GRACE)
        raise SystemExit(f"error: process {rank()}: {_describe_silence() if is_late else _ENDED}")


def has_failed() -> bool:
    """Says whether a process has ended with an error, or stopped, as far as is known."""
    if not dist.is_initialized():
        return False
    try:
        return _bounded(lambda: _store().check([_FAILED]))
    except (RuntimeError, OSError):  # who kept this is gone itself, or does not answer
        return True


def _store() -> dist.Store:
    return dist.distributed_c10d._get_default_store()


def _bounded(call: Callable[[], T]) -> T:
    """Returns what a call to the store returns; the store's own time limit does not hold for all of them.

    Raises:
        TimeoutError: There is no answer: the process that keeps the store has been stopped.
    """
    answers: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            answers.append(call())
        except Exception as error:  # noqa: BLE001  (raised again below)
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(STORE_TIMEOUT)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"no answer from the store within {STORE_TIMEOUT} s")
    return answers[0]


def _note(*keys: str) -> None:
    def write() -> None:
        for key in keys:
            _store().set(key, "1")

    try:
        _bounded(write)
    except (RuntimeError, OSError):
        return  # nobody is left to be told


def _forget_failures() -> None:
    """Removes what an attempt before has noted, where the store outlives it."""
    for key in (_FAILED, *(f"{_WAITED}{number}" for number in range(world_size()))):
        _store().delete_key(key)


def _describe_silence() -> str:
    numbers = range(world_size())
    try:
        silent = _bounded(lambda: [number for number in numbers if not _store().check([f"{_WAITED}{number}"])])
    except (RuntimeError, OSError):
        silent = []
    who = f"process {', '.join(map(str, silent))}" if silent else "another process"
    return (
        f"waited {timeout()} s in vain for {who}; look what it does (its log, py-spy dump), or raise {TIMEOUT}=SECONDS "
        "if it only needs longer"
    )
