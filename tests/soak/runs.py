"""Runs of main.py in forked children of one warm process, to be killed and watched: what the soak test is made of."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pointrecon.tools.environment import ROOT

TINY = ("device=cpu", "figures=false", "batch_size=64", "optim.warmup_epochs=0", "data.num_points=48")
TINY += ("model.embed_dim=16", "model.depth=1", "model.num_heads=2", "model.num_groups=4", "model.group_size=4")
TINY += ("keep=all", "model.patch_width=16", "model.decoder_depth=1", "model.decoder_num_heads=2")
SPEEDS = ("shapes_per_second",)


class ForkedRun:
    """One process of a run, in a process group of its own; says through a pipe when a step begins.

    Args:
        arguments: what follows `python main.py`.
        log: file that gets what it prints.
        environment: added to the child's.
        prepare: called in the child, before anything else.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.steps, end = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            _be_the_child(arguments, log, environment or {}, prepare, end)
        os.close(end)
        self.num_steps, self.code = 0, None

    def wait_for_step(self, number: int, seconds: float = 120.0) -> bool:
        """Waits until step `number`, from 1, begins; False if the run ends before."""
        until = time.monotonic() + seconds
        while self.num_steps < number:
            if not select.select([self.steps], [], [], max(until - time.monotonic(), 0))[0]:
                raise TimeoutError(f"step {number} did not begin within {seconds} s")
            read = os.read(self.steps, min(number - self.num_steps, 4096))
            if not read:
                return False
            self.num_steps += len(read)
        return True

    def kill(self) -> None:
        """SIGKILL, to this process alone: the ones that it has started have to end by themselves."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Waits for its end and returns the exit code, negative for a signal."""
        if self.code is None:
            while os.read(self.steps, 65536) if self.steps >= 0 else b"":
                pass
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self.steps)
            self.steps = -1
        return self.code

    def has_left_processes(self, seconds: float = 15.0) -> bool:
        """Whether a process that it has started is still there after a while; kills it then."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return False
            time.sleep(0.05)
        os.killpg(self.pid, signal.SIGKILL)
        return True

    @property
    def memory_mb(self) -> float:
        """Memory that is in use by the process."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    @property
    def num_files(self) -> int:
        """Open file handles; the fewest of some looks, since a checkpoint may be about to be written."""
        counts = []
        for _ in range(5):
            counts.append(len(os.listdir(f"/proc/{self.pid}/fd")))
            time.sleep(0.05)
        return min(counts)


def _be_the_child(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str], prepare: Callable[[], None], pipe: int
) -> None:
    code = 1
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = sys.stderr = open(1, "w", buffering=1, encoding="utf-8", closefd=False)
        os.environ.update(environment)
        prepare()
        report_steps(pipe)
        sys.argv = ["main.py", *arguments]
        runpy.run_path(str(ROOT / "main.py"), run_name="__main__")
    except SystemExit as stop:  # as the interpreter takes it
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        for child in multiprocessing.active_children():  # as at the end of any program
            child.terminate()
        os._exit(code)  # nothing of the parent is to be run to its end here


def report_steps(pipe: int) -> None:
    """Lets this process write a byte at the beginning of every step."""
    from pointrecon.tools.training.runner import Runner

    original = Runner.train_step

    def train_step(self: Runner, *arguments: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(pipe, b".")
        original(self, *arguments)

    Runner.train_step = train_step


@contextlib.contextmanager
def forked(arguments: Sequence[str], log: Path, world_size: int = 1) -> Iterator[list[ForkedRun]]:
    """The processes of a run, over the loopback device alone; none of them is left behind."""
    shared = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    shared |= {"GLOO_SOCKET_IFNAME": "lo"}
    runs: list[ForkedRun] = []
    try:
        for rank in range(world_size):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if world_size > 1 else {}
            runs.append(ForkedRun(arguments, log, {**(shared if world_size > 1 else {}), **own}))
        yield runs
    finally:
        for run in runs:
            if run.code is None:
                run.kill()
        for run in runs:
            run.wait()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def digest(folder: Path) -> str:
    """What a run has come to, as one number: weights, optimizer, best weights and metrics, to the last bit."""
    total = hashlib.sha256()
    for name in ("ckpt-last.pth", "ckpt-best.pth"):
        if (folder / name).is_file():
            content = torch.load(folder / name, weights_only=True)
            for part in ("base_model", "optimizer", "epoch", "step", "best_metrics"):
                _add(total, content[part])
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        total.update(repr([(key, value) for key, value in record.items() if key not in SPEEDS]).encode())
    return total.hexdigest()


def _add(total: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        total.update(value.contiguous().numpy().tobytes())
    elif isinstance(value, Mapping):
        for key, item in value.items():
            total.update(repr(key).encode())
            _add(total, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _add(total, item)
    else:
        total.update(repr(value).encode())
