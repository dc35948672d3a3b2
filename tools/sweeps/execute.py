"""Does many runs: those that are not done, in the order of what they need, several at a time, whatever ends this."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

from pointrecon.tools.sweeps import fingerprint, work
from pointrecon.tools.sweeps.plan import Run, check_plan
from pointrecon.tools.sweeps.work import Order, serve
from pointrecon.utils.errors import InputError

POLL_SECONDS = 2.0  # between two looks at a run that another process has at work
GRACE_SECONDS = 120.0  # for a run that is asked to save and stop


@dataclass(frozen=True)
class Options:
    """How runs are done.

    Attributes:
        jobs: Runs at a time.
        niceness: How far they stand back for other processes, 0 to 19.
        echo: See `work.Order`.
        any_code: Accept what another version of the code has computed.
        again: Do everything anew.
        say: Gets a line for whatever begins or ends.
    """

    jobs: int = 1
    niceness: int = 0
    echo: str = work.QUIET
    any_code: bool = False
    again: bool = False
    say: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise InputError(f"--jobs is {self.jobs}, but must be at least 1")
        if not 0 <= self.niceness <= 19:
            raise InputError(f"--nice is {self.niceness}, but must be 0 to 19")


@dataclass
class Outcome:
    """What became of the runs, by name.

    Attributes:
        done: Those that are done, now or before.
        failed: Those that were tried and failed, and why.
        left_out: Those that need one that failed.
    """

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raises InputError if not all runs are done."""
        if self.failed:
            reasons = "; ".join(f"'{name}': {reason}" for name, reason in list(self.failed.items())[:3])
            more = f", and {len(self.left_out)} were left out that need them" if self.left_out else ""
            raise InputError(
                f"{len(self.failed)} runs failed{more}: {reasons}; mend that and start this command again: what is "
                "done is kept"
            )


@dataclass
class _Job:
    run: Run
    process: Any
    answer: Connection
    gpu: str | None
    start: float


def status(run: Run, any_code: bool = False) -> str | None:
    """Says why a run has to be done, None if it is done; a checkpoint that is not there yet is a reason."""
    try:
        return fingerprint.why_not_done(run, run.folder(), fingerprint.inputs_of(run), any_code)
    except InputError as error:
        return str(error)


def run_all(runs: Sequence[Run], options: Options) -> Outcome:
    """Does the runs that are not done.

    A run that fails is noted and the others go on. Ctrl-C, SIGTERM and SIGHUP ask the runs at work to save and stop;
    started again, they go on from there. A second signal ends them at once.

    Args:
        runs: Each after those that it needs.
        options: See there.

    Raises:
        InputError: The runs cannot be started like this; nothing was.
        KeyboardInterrupt: A signal came.
    """
    check_plan(runs)
    sweep = _Sweep(runs, options)
    with _signals():
        try:
            sweep.work()
        except KeyboardInterrupt:
            options.say("stopping: runs at work save what they have (again: ends them at once)")
            sweep.stop()
            raise
        finally:
            sweep.kill()
    return sweep.outcome


class _Sweep:
    def __init__(self, runs: Sequence[Run], options: Options) -> None:
        self.waiting, self.options, self.outcome = list(runs), options, Outcome()
        self.jobs: list[_Job] = []
        self.busy: dict[str, float] = {}  # runs that another process has at work, and when to look again
        has_server = "forkserver" in multiprocessing.get_all_start_methods()
        self.context: Any = multiprocessing.get_context("forkserver" if has_server else "spawn")
        if has_server:
            self.context.set_forkserver_preload(list(work.PRELOAD))
        self.gpus, self.num_runs, self.rounds = visible_gpus(), len(runs), 0

    def work(self) -> None:
        """Starts and collects until nothing is left."""
        while self.waiting or self.jobs:
            self.start_what_can()
            sentinels = [job.process.sentinel for job in self.jobs]
            if sentinels:
                wait([*sentinels, *(job.answer for job in self.jobs)], timeout=POLL_SECONDS)
            elif self.waiting:
                time.sleep(POLL_SECONDS)
            for job in [job for job in self.jobs if job.answer.poll() or not job.process.is_alive()]:
                self.collect(job)

    def start_what_can(self) -> None:
        """Fills the free places; what is done or cannot be done any more leaves the queue."""
        for run in list(self.waiting):
            if len(self.jobs) >= self.options.jobs:
                return
            if any(name in self.outcome.failed or name in self.outcome.left_out for name in run.after):
                self.waiting.remove(run)
                self.outcome.left_out.append(run.name)
                continue
            is_due = self.busy.get(run.name, 0) <= time.monotonic()
            if is_due and all(name in self.outcome.done for name in run.after):
                self.waiting.remove(run)
                self.start(run)

    def start(self, run: Run) -> None:
        """Starts a run unless it is done."""
        reason = status(run, self.options.any_code)
        if reason is None and not self.options.again:
            self.outcome.done.append(run.name)
            return
        if run.name not in self.busy:
            self.options.say(f"{self._place()} {run.name} begins ({reason or 'asked for again'})")
        taken = [job.gpu for job in self.jobs]
        is_spread = self.gpus and self.options.jobs > 1 and run.num_processes == 1
        gpu = min(self.gpus, key=taken.count) if is_spread else None
        options, code = self.options, fingerprint.code_digest()
        order = Order(run, options.echo, options.niceness, gpu, options.any_code, options.again, code)
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=serve, args=(order, theirs))
        process.start()
        theirs.close()
        self.jobs.append(_Job(run, process, ours, gpu, time.monotonic()))

    def collect(self, job: _Job) -> None:
        """Takes what a process has to say."""
        try:
            state, sentence = job.answer.recv()
        except (EOFError, OSError):
            job.process.join()
            code = job.process.exitcode
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            state, sentence = work.FAILED, f"its process ended with {how}"
        job.process.join()
        job.answer.close()
        self.jobs.remove(job)
        name, seconds = job.run.name, time.monotonic() - job.start
        if state == work.BUSY:
            if name not in self.busy:
                self.options.say(f"{self._place()} {name}: {sentence}; looked at again later")
            self.busy[name] = time.monotonic() + POLL_SECONDS
            self.waiting.append(job.run)
        elif state == work.DONE:
            self.outcome.done.append(name)
            self.options.say(f"{self._place()} {name} ends after {seconds:.0f} s")
        else:
            self.outcome.failed[name] = sentence
            self.options.say(f"{self._place()} {name} failed: {sentence}")

    def stop(self) -> None:
        """Asks the runs at work to save and stop, and waits for them."""
        for job in self.jobs:
            job.process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for job in self.jobs:
            job.process.join(max(deadline - time.monotonic(), 0))

    def kill(self) -> None:
        """Ends what is still at work."""
        for job in self.jobs:
            if job.process.is_alive():
                job.process.kill()
            job.process.join()
        self.jobs = []

    def _place(self) -> str:
        ended = len(self.outcome.done) + len(self.outcome.failed) + len(self.outcome.left_out)
        return f"[{ended}/{self.num_runs}]"


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Inside the block, SIGTERM and SIGHUP are as Ctrl-C."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {}
    with contextlib.suppress(ValueError):  # only the main thread may have handlers
        for number in (signal.SIGTERM, signal.SIGHUP):
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def visible_gpus() -> list[str]:
    """The GPUs that runs are spread over, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    if not torch.cuda.is_available():
        return []
    given = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return given or [str(number) for number in range(torch.cuda.device_count())]


def default_jobs() -> int:
    """One run a GPU, or a core that this process may use."""
    return len(visible_gpus()) or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0])
