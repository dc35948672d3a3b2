"""Calls a function many times in child processes, each call with a time limit: one that hangs or crashes ends alone."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from pointrecon.utils.errors import InputError

_SCRIPT_LOCK = threading.Lock()


@dataclass(frozen=True)
class Failure:
    """Why a call gave no result.

    Attributes:
        cause: Two or three words under which failures are counted: `time limit`, `crash`, `out of memory`, the `cause`
            of an error that has one, or the error's class.
        message: One sentence.
    """

    cause: str
    message: str


class TaskPool:
    """Child processes that stay, each busy with one call at a time; use it in a `with` block.

    Args:
        function: A function of a module, called as function(task) in a child.
        jobs: Child processes.
        time_limit: Seconds a call may take; then its process is ended and another one started.
        memory: Bytes of data that a child may hold, where the system can limit it; None: no limit.
        preload: Modules that children start with, so that each of them need not import them.

    Raises:
        InputError: `jobs` or `time_limit` is out of range.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        jobs: int = 1,
        time_limit: float = 60.0,
        memory: int | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        if jobs < 1 or not time_limit > 0:
            raise InputError(f"jobs is {jobs} and the time limit {time_limit} s, but both must be above 0")
        self._function, self._jobs, self._time_limit, self._memory = function, jobs, time_limit, memory
        # A server that has imported everything once forks children in no time; forking this process could copy locks.
        has_server = "forkserver" in multiprocessing.get_all_start_methods()
        self._context = multiprocessing.get_context("forkserver" if has_server else "spawn")
        if has_server:
            self._context.set_forkserver_preload([function.__module__, *preload])
        self._workers: list[_Worker] = []

    def __enter__(self) -> "TaskPool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers = []

    def run(self, tasks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yields (task, result or Failure) as calls end, in no certain order."""
        waiting = iter(tasks)
        is_more = True
        while True:
            for worker in [item for item in self._all() if is_more and item.task is None]:
                task = next(waiting, self)
                is_more = task is not self
                if not is_more:
                    break
                worker.start(task, self._time_limit)
            busy = [worker for worker in self._workers if worker.task is not None]
            if not busy:
                return
            nearest = min(worker.deadline for worker in busy) - time.monotonic()
            ready = wait([worker.connection for worker in busy], timeout=max(nearest, 0))
            for worker in busy:
                if worker.connection in ready:
                    yield self._finish(worker, worker.receive())
                elif time.monotonic() >= worker.deadline:
                    yield self._finish(worker, Failure("time limit", f"took over {self._time_limit:g} s"))

    def _all(self) -> list["_Worker"]:
        while len(self._workers) < self._jobs:
            self._workers.append(_Worker(self._context, self._function, self._memory))
        return self._workers

    def _finish(self, worker: "_Worker", result: Any) -> tuple[Any, Any]:
        task, worker.task = worker.task, None
        if isinstance(result, Failure) and result.cause in ("time limit", "crash", "out of memory"):
            worker.stop()
            self._workers.remove(worker)
        return task, result


class _Worker:
    def __init__(self, context: Any, function: Callable, memory: int | None) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, function, memory), daemon=True)
        with _without_script():
            self.process.start()
        theirs.close()
        self.task: Any = None
        self.deadline = 0.0
        self._is_new = True

    def start(self, task: Any, time_limit: float) -> None:
        self.task = task
        if self._is_new:
            self._meet(time.monotonic() + 300)
        self.deadline = time.monotonic() + time_limit
        try:
            self.connection.send(task)
        except OSError:
            self.deadline = time.monotonic() + 1  # it has died; `receive` says how

    def _meet(self, deadline: float) -> None:
        """Waits until the child has imported its modules, which is not the first call's time."""
        self._is_new = False
        while time.monotonic() < deadline and not self.connection.poll(1):
            if not self.process.is_alive():
                return
        try:
            self.connection.recv()
        except (EOFError, OSError):
            return

    def receive(self) -> Any:
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join(5)
            code = self.process.exitcode
            how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
            return Failure("crash", f"its process ended with {how}")

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join(5)


@contextlib.contextmanager
def _without_script() -> Iterator[None]:
    """Children import the module of their function, and not the script that was started.

    Otherwise a script without `if __name__ == "__main__"` would run again in each of them.
    """
    with _SCRIPT_LOCK:
        script = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = script


def _serve(connection: Connection, function: Callable, memory: int | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children
    _limit_memory(memory)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if "torch" in sys.modules:  # imported before that was set
        sys.modules["torch"].set_num_threads(1)
    connection.send("ready")
    while True:
        try:
            connection.send(_call(function, connection.recv()))
        except (EOFError, OSError):  # the parent has gone
            return


def _call(function: Callable, task: Any) -> Any:
    try:
        return function(task)
    except MemoryError:
        return Failure("out of memory", "needs more memory than a call may have")
    except Exception as error:  # noqa: BLE001  (whatever a hostile file makes a reader do is a failure of that file)
        cause = getattr(error, "cause", None)
        text = " ".join(str(error).split()) or type(error).__name__
        return Failure(cause if isinstance(cause, str) else type(error).__name__, text[:500])


def _limit_memory(memory: int | None) -> None:
    if memory is None or sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
