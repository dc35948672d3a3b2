"""Signals that ask a run to save, or to save and stop."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

import torch

from pointrecon.utils.processes import connection, distributed

TERMINATED = 128 + signal.SIGTERM  # exit code of a process that SIGTERM has ended
INTERRUPTED = 128 + signal.SIGINT
PATIENCE = 5.0  # seconds that a run which is asked to stop still waits for its data or for an evaluation
PEER_PATIENCE = 10.0  # the same in processes that do not save: the one that does may still need them for its last step
CHILD_PATIENCE = 60  # seconds that a loading process goes on after SIGTERM
ECHO = 3.0  # seconds in which torchrun passes on the Ctrl-C that its processes have seen already
_FIRST = b"\ninterrupted: saving after this step, for --resume; press Ctrl-C again to stop at once\n"


class StopRequested(BaseException):
    """Interrupts a wait or an evaluation of a process that has been asked to stop; only the loop catches it."""


class Signals:
    """SIGTERM and Ctrl-C (SIGINT) ask a run to save and stop after the step at hand, SIGUSR1 to save and go on.

    Clusters send SIGTERM before they take a node away. A second Ctrl-C stops at once. A context manager: the handlers
    are there inside the block only.

    Args:
        is_main: whether this process saves. The others go on until it has stopped: it needs them for its last step.
        is_collective: all processes save together, so that what one has heard counts from the next `agree` on, and no
            wait is interrupted.

    Attributes:
        is_asked: the run has been asked to stop, in whatever process.
        must_stop: this process is to save and stop.
        must_save: the run is to save.
        exit_code: what the process ends with if it is to stop.
    """

    def __init__(self, is_main: bool, *, is_collective: bool = False) -> None:
        self.is_main, self.is_collective = is_main, is_collective
        self.is_asked = self.must_stop = self.must_save = False
        self.exit_code = int(TERMINATED)
        self._first_interrupt: float | None = None
        self._is_interruptible = False
        self._before: dict[int, Any] = {}
        self._pid = os.getpid()

    def __enter__(self) -> "Signals":
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                self._before[number] = signal.signal(number, self._note)
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._stop_waiting)
        except ValueError:  # only the main thread may have handlers
            pass
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """In the block the run waits, or does what can be done again: once asked to stop, it has little time for it.

        Raises:
            StopRequested: the run has been asked to stop, and the block has not ended within `PATIENCE`.
        """
        self._is_interruptible = True
        self._limit_waiting()
        try:
            yield
        finally:
            self._is_interruptible = False
            if self.is_asked:
                self._set_timer(0.0)

    def agree(self) -> None:
        """All processes hear what any of them has been asked for, where they save together."""
        if not self.is_collective:
            return
        asked = torch.zeros(2, distributed.world_size())
        asked[:, distributed.rank()] = torch.tensor([self.must_stop * self.exit_code, int(self.must_save)])
        code, save = distributed.all_reduce_sum(asked).amax(dim=1).int().tolist()
        self.is_asked, self.must_stop, self.must_save = bool(code), bool(code), bool(save)
        self.exit_code = code or self.exit_code

    def _note(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._pid:
            _outlive_parent(number)
            return
        if number == signal.SIGUSR1:
            self.must_save |= self.is_main or self.is_collective
            return
        if number == signal.SIGINT:
            self._count_interrupt()
        if connection.has_failed():
            raise SystemExit(1)  # there is no step to be finished with a process that is gone
        self.is_asked, self.exit_code = True, 128 + number
        self.must_stop |= self.is_main or self.is_collective
        self.must_save |= self.is_main or self.is_collective
        self._limit_waiting()

    def _count_interrupt(self) -> None:
        """Ends the process at the second one."""
        now = time.monotonic()
        if self._first_interrupt is None:
            self._first_interrupt = now
            if self.is_main:  # not by the logger, which may be what has been interrupted
                os.write(2, _FIRST)
        elif distributed.world_size() == 1 or now - self._first_interrupt > ECHO:
            raise KeyboardInterrupt

    def _limit_waiting(self) -> None:
        if self.is_asked and self._is_interruptible and not self.is_collective:
            self._set_timer(PATIENCE if self.is_main else PEER_PATIENCE)

    def _set_timer(self, seconds: float) -> None:
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def _stop_waiting(self, _: int, __: FrameType | None) -> None:
        if self._is_interruptible:
            self._is_interruptible = False
            raise StopRequested


def _outlive_parent(number: int) -> None:
    """In a loading process, which has inherited the handlers: torchrun and terminals signal whole process groups.

    It ends when the run does, which may need it for its last step; should it not, then a while after SIGTERM.
    """
    if number == signal.SIGTERM:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(CHILD_PATIENCE)
