"""One run of a sweep, in a process of its own: takes the run's lock, does what is not done, leaves a fingerprint."""

import contextlib
import fcntl
import io
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pointrecon.tools import cli
from pointrecon.tools.sweeps import fingerprint
from pointrecon.tools.sweeps.plan import CHECKPOINT, Run
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError
from pointrecon.utils.program import use_plain_console

# Imported once, then forked.
TASKS = tuple(f"pointrecon.tools.tasks.{name}" for name in ("pretrain", "classify", "segment", "evaluate"))
PRELOAD = ("pointrecon.tools.training.runner", *TASKS, "sklearn.svm", "sklearn.model_selection", __name__)
# What a process answers: (state, sentence).
DONE, BUSY, FAILED, STOPPED = "done", "busy", "failed", "stopped"
ERROR = "error.txt"  # in the run folder: how a program error came about
QUIET, LOUD, PREFIXED = "quiet", "loud", "prefixed"


@dataclass(frozen=True)
class Order:
    """What a process is asked to do.

    Attributes:
        run: The run.
        echo: Where its messages go, besides log.txt: nowhere (quiet), to the console (loud), or there with the name of
            the run before each line (prefixed).
        niceness: How far it stands back for other processes, 0 to 19.
        gpu: The only GPU that it sees, as in CUDA_VISIBLE_DEVICES; None: all.
        any_code: Accept what another version of the code has computed.
        again: Do it although it is done.
        code: Digest of the code; None: of the files as they are.
    """

    run: Run
    echo: str = QUIET
    niceness: int = 0
    gpu: str | None = None
    any_code: bool = False
    again: bool = False
    code: str | None = None


def serve(order: Order, answer: Connection) -> None:
    """Does a run, and sends (state, sentence); the entry point of a process."""
    use_plain_console()
    os.setsid()  # the terminal's Ctrl-C is the parent's business: it asks its processes to save and stop
    try:
        _prepare(order)
        with _echo(order):
            answer.send(do(order))
    except InputError as error:
        answer.send((FAILED, str(error)))
    except KeyboardInterrupt:
        answer.send((STOPPED, "it was interrupted"))
    except SystemExit as error:
        state = STOPPED if error.code in (128 + signal.SIGTERM, 128 + signal.SIGINT) else FAILED
        answer.send((state, f"it ended with exit code {error.code}"))
    except Exception as error:  # noqa: BLE001  (whatever ends a run is told, and the others go on)
        path = _keep_traceback(order.run)
        answer.send((FAILED, f"{type(error).__name__}: {' '.join(str(error).split())[:500]} (traceback in '{path}')"))


def do(order: Order) -> tuple[str, str]:
    """Does a run unless it is done or another process has it at work.

    Raises:
        InputError: The run failed by a mistake of the user or a fault of the machine.
    """
    run = order.run
    folder = run.folder()
    with locked(folder) as is_ours:
        if not is_ours:
            return BUSY, "another process has it at work"
        inputs = fingerprint.inputs_of(run, order.code)
        if not order.again and fingerprint.why_not_done(run, folder, inputs, order.any_code) is None:
            return DONE, "another process has done it"
        goes_on = not order.again and fingerprint.can_resume(folder, inputs)
        if not goes_on:
            fingerprint.write_started(folder, inputs)
        how = "--resume" if goes_on else "--overwrite"
        (folder / ERROR).unlink(missing_ok=True)
        if run.num_processes > 1:
            _launch(run.command(how))
        else:
            run_here(run.command_line(how))
        # Data that the run itself has prepared, such as features of a teacher, belong to its inputs too.
        inputs["data"] = fingerprint.data_digests(run.configure()) | inputs["data"]
        fingerprint.write_done(run, folder, inputs, _facts(run, folder))
    return DONE, ""


def run_here(arguments: list[str]) -> None:
    """Does what main.py does with these arguments, in this process."""
    from pointrecon.tools.context import make_context
    from pointrecon.tools.faults import explained
    from pointrecon.tools.startup import checks
    from pointrecon.tools.tasks import TASKS
    from pointrecon.tools.training import runner

    flags = cli.parse(arguments)
    cfg = load_config(flags.config, cli.to_overrides(flags))
    checks.check(flags, cfg)
    with explained(cfg), make_context(cfg, flags.config, flags.exp_name, flags.overwrite) as ctx:
        runner.run(TASKS.get(cfg.task)(cfg, ctx), cfg, ctx)


def _launch(command: list[str]) -> None:
    """Runs a command to its end; SIGTERM is passed on, since it is the command that saves."""
    process = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    code = process.wait()
    if code:
        raise InputError(f"it ended with exit code {code}")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Inside the block, no other process has the run of this folder at work; gives False if one has.

    The lock ends with the process that holds it, however that ends.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _prepare(order: Order) -> None:
    """Threads, GPU and politeness of this process."""
    if order.niceness:
        os.nice(order.niceness)
    if order.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = order.gpu
    if order.run.num_threads:
        import torch

        torch.set_num_threads(order.run.num_threads)
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(order.run.num_threads)


def _keep_traceback(run: Run) -> Path:
    path = run.folder() / ERROR
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(traceback.format_exc(), encoding="utf-8")
    return path


def _facts(run: Run, folder: Path) -> dict[str, Any]:
    """What the tables say of a run besides its metrics."""
    if CHECKPOINT not in run.outputs:
        return {}
    from pointrecon.tools.checkpoints.checkpoint import read_checkpoint

    weights = read_checkpoint(folder / CHECKPOINT)["base_model"]
    return {"parameters": sum(tensor.numel() for tensor in weights.values() if tensor.is_floating_point())}


@contextlib.contextmanager
def _echo(order: Order) -> Iterator[None]:
    if order.echo == LOUD:
        yield
    elif order.echo == PREFIXED:
        out, err = _Prefixed(sys.stdout, order.run.name), _Prefixed(sys.stderr, order.run.name)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield
    else:
        nowhere = open(os.devnull, "w", encoding="utf-8")
        with nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield


class _Prefixed(io.TextIOBase):
    """Writes whole lines, each with a name before it."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name, self._rest = stream, name, ""

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Writes the lines that are complete, and keeps the rest."""
        *lines, self._rest = (self._rest + text.replace("\r", "\n")).split("\n")
        for line in filter(str.strip, lines):
            self._stream.write(f"[{self._name}] {line}\n")
        self._stream.flush()
        return len(text)
