"""What a run has besides its config: device, run folder, messages, metrics, its place among several processes."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from logging import Logger
from pathlib import Path
from typing import Any, Protocol

import torch

from pointrecon.extensions.dispatch import select_backend
from pointrecon.tools.environment import describe_environment, describe_versions
from pointrecon.tools.settings import Settings
from pointrecon.utils.config import flatten, save_config
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.files.io import write_json
from pointrecon.utils.log import MetricsWriter, close_logger, log_to_file, make_logger
from pointrecon.utils.processes import connection, distributed
from pointrecon.utils.processes.agreement import check_alike
from pointrecon.utils.processes.lock import FileLock
from pointrecon.utils.processes.memory import keep_freed_memory
from pointrecon.utils.seed import seed_everything

# What a run writes; --overwrite removes these and nothing else.
RUN_FILES = (
    *("config.yaml", "env.json", "log.txt", "metrics.jsonl", "result.json", "ckpt-*.pth", "tb", "figures"),
    *("nan*.pth", "predictions*.npz", "embeddings*.npz", "reconstructions.npz", "part_iou.json"),
)
LOG = "log.txt"
LOCK = ".lock"  # of the run folder, while the run goes on
PARTIAL_FILES = (".*.tmp.*",)  # what utils.io.atomic_write leaves if it is killed
OWN_KEYS = ("data_root", "output_root", "num_workers")  # of the config: each process may have its own
DONE_FILES = ("result.json", "ckpt-*.pth")


class Surroundings(Protocol):
    """What work outside of a training loop asks of a run: a `RunContext`, or a `Standalone`."""

    @property
    def device(self) -> torch.device: ...

    @property
    def logger(self) -> Logger: ...

    @property
    def is_main(self) -> bool: ...


@dataclass(frozen=True)
class Standalone:
    """The surroundings of a single process without a run folder."""

    device: torch.device
    logger: Logger
    is_main: bool = True


@dataclass
class RunContext:
    """The surroundings of a run. A context manager: closes its files at the end.

    Attributes:
        cfg: The whole config.
        device: Where the network runs; with several processes each has its own GPU.
        folder: The run folder; it is there after `open_folder`.
        logger: Messages; silent in all processes but the main one.
        metrics: Writer of metrics.jsonl and tb/; silent in all processes but the main one.
        rank: Number of this process, from 0.
        world_size: Number of processes.
        overwrite: Whether an earlier run in the folder may be removed.
        lock: Of the run folder; the main process has it from `open_folder` at the latest.
        start_time: Seconds since the epoch.
    """

    cfg: Settings
    device: torch.device
    folder: Path
    logger: Logger
    metrics: MetricsWriter
    rank: int = 0
    world_size: int = 1
    overwrite: bool = False
    lock: FileLock | None = None
    start_time: float = field(default_factory=time.time)
    _is_open: bool = field(default=False, init=False, repr=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    @property
    def batch_size(self) -> int:
        """Shapes in a forward pass of this process."""
        return self.cfg["batch_size"] // self.world_size

    def open_folder(self, *, goes_on: bool = True) -> None:
        """Makes the run folder with config.yaml, env.json and log.txt in it. Does nothing the second time.

        Args:
            goes_on: Whether a run that is resumed has a checkpoint. If not, what a killed attempt has left is removed.

        Raises:
            InputError: The folder cannot be made, holds another run, or another run is at work in it.
        """
        if not self.is_main or self._is_open:
            return
        _make_folder(self.folder)
        if self.lock is not None and not self.lock.is_held:
            self.lock.acquire()
            # A run that was started at the same time may have come and gone.
            _check_folder(self.folder, self.cfg, self.overwrite)
        old = RUN_FILES if not self.cfg["resume"] else () if goes_on else [name for name in RUN_FILES if name != LOG]
        _remove(self.folder, (*old, *PARTIAL_FILES))
        # How a run was continued is no part of what it does: the file alone starts it from the beginning.
        save_config({**self.cfg, "resume": False}, self.folder / "config.yaml")
        write_json(describe_environment(self.device, sys.argv), self.folder / "env.json")
        log_to_file(self.logger, self.folder / LOG, append=self.cfg["resume"])
        self._is_open = True

    def __enter__(self) -> "RunContext":
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            self.metrics.close()
        finally:  # a full disk is no reason to leave the other processes waiting
            close_logger(self.logger)
            if self.lock is not None:
                self.lock.release()
            _wake_children()
            connection.cleanup(error)


def make_context(
    cfg: Settings, config_path: str | Path, exp_name: str = "default", overwrite: bool = False
) -> RunContext:
    """Checks how the run is to go, and prepares the process for it: device, processes, seeds, memory. Writes nothing.

    Args:
        cfg: The whole config.
        config_path: The file it came from; it names the run folder.
        exp_name: Last part of the run folder.
        overwrite: Accept the folder of an earlier run; `open_folder` then empties it.

    Raises:
        InputError: A value that is not allowed, a device that is not there, or the folder of an earlier run.
    """
    connection.check_launch()
    _check_share(cfg)
    device = find_device(cfg["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what names no device shall not open another one
    _check_backend()
    folder = run_folder(cfg["output_root"], config_path, exp_name)
    advice = "wait for its end, or give another --exp_name"
    lock = FileLock(folder / LOCK, what=f"the run folder '{folder}'", advice=advice)
    try:
        if distributed.is_main():
            if folder.is_dir():  # otherwise nobody is there, and nothing is written yet
                lock.acquire()
            _check_folder(folder, cfg, overwrite)
        connection.init(device.type)
        check_alike(_shared_values(cfg))
    except BaseException as error:
        lock.release()
        connection.cleanup(error)
        raise
    seed_everything(cfg["seed"], cfg["deterministic"])  # alike in all processes, for weights that nothing overwrites
    keep_freed_memory()
    return RunContext(
        cfg=cfg,
        device=device,
        folder=folder,
        logger=make_logger(enabled=distributed.is_main()),
        metrics=MetricsWriter(folder, append=cfg["resume"], enabled=distributed.is_main()),
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        overwrite=overwrite,
        lock=lock,
    )


def run_folder(output_root: str | Path, config_path: str | Path, exp_name: str) -> Path:
    """Returns <output_root>/<config stem>/<config parent>/<exp_name>.

    Raises:
        InputError: `exp_name` is no plain name.
    """
    if not exp_name or exp_name in (".", "..") or "/" in exp_name or "\\" in exp_name:
        raise InputError(f"--exp_name is '{exp_name}', but must be a plain name without slashes: it names a folder")
    path = Path(config_path).resolve()
    return Path(output_root) / path.stem / path.parent.name / exp_name


def find_results(folder: Path) -> list[str]:
    """Returns the names of the checkpoints and results in a folder; empty if it holds no run."""
    return sorted(item.name for pattern in DONE_FILES for item in folder.glob(pattern))


def find_device(name: str) -> torch.device:
    """Returns the device called `name`.

    Args:
        name: auto (a CUDA GPU if there is one, else the CPU), cpu, cuda, cuda:N or mps.

    Raises:
        InputError: There is no such device.
    """
    kind, _, index = name.partition(":")
    if index and not (kind == "cuda" and index.isdigit()):
        raise InputError(f"device is '{name}', but must be one of: auto, cpu, cuda, cuda:N, mps")
    check_choice("device", kind, ("auto", "cpu", "cuda", "mps"))
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "auto":
        kind = "cuda" if num_gpus else "cpu"
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("device is 'mps', but this machine or this torch has none; give device=cpu")
    if kind != "cuda":
        return torch.device(kind)
    if not num_gpus:
        raise InputError(f"device is '{name}', but torch sees no CUDA GPU; give device=cpu or device=auto")
    number = int(index) if index else distributed.local_rank()
    if index and distributed.world_size() > 1:
        raise InputError(f"device is '{name}', but there are {distributed.world_size()} processes; give device=cuda")
    if number >= num_gpus:
        raise InputError(f"GPU {number} is asked for, but torch sees {num_gpus}, numbered from 0; ask for fewer")
    return torch.device("cuda", number)


def _shared_values(cfg: Settings) -> dict[str, Any]:
    """What must be the same in all processes; `device` names no number there, and paths may differ between machines."""
    values = {key: value for key, value in flatten(cfg).items() if key.split(".")[0] not in OWN_KEYS}
    return values | {f"version of {name}": version for name, version in describe_versions().items()}


def _check_share(cfg: Settings) -> None:
    num_processes = distributed.world_size()
    if cfg["batch_size"] % num_processes:
        raise InputError(
            f"batch_size is {cfg['batch_size']} over all processes, but cannot be shared evenly by {num_processes}; "
            f"give a multiple of {num_processes}"
        )


def _check_backend() -> None:
    """The extensions know no error of ours, so a wrong POINT_OPS is found out here."""
    try:
        select_backend(torch.zeros(()))
    except ValueError as error:
        raise InputError(f"environment variable {error}") from error


def _check_folder(folder: Path, cfg: Settings, overwrite: bool) -> None:
    if cfg["resume"]:
        return
    if overwrite and cfg["init"] and Path(cfg["init"]).resolve().parent == folder.resolve():
        raise InputError(
            f"--overwrite would remove '{cfg['init']}', which the run starts from; give another --exp_name"
        )
    done = find_results(folder)
    if done and not overwrite:
        raise InputError(
            f"'{folder}' holds a run already ({', '.join(done[:3])}); give another --exp_name, "
            "--resume to go on with it, or --overwrite to start it anew"
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the run folder '{folder}': {error.strerror}; set output_root") from error


def _remove(folder: Path, patterns: Iterable[str]) -> None:
    for path in (item for pattern in patterns for item in folder.glob(pattern)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _wake_children() -> None:
    """Lets loading processes that were stopped (SIGSTOP) hear that the run has ended; they would never do so."""
    for child in multiprocessing.active_children():
        if child.pid is not None and hasattr(signal, "SIGCONT"):
            with contextlib.suppress(OSError):
                os.kill(child.pid, signal.SIGCONT)
