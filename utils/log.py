"""What a run tells: messages (console and log.txt), metrics (metrics.jsonl and TensorBoard), progress."""

import json
import logging
import logging.handlers
import math
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

import torch
from tqdm import tqdm

from pointrecon.utils.files.io import atomic_write

FORMAT = "%(asctime)s %(message)s"
TIME_FORMAT = "%H:%M:%S"
T = TypeVar("T")

# As `logging` does with its own locks: one that another thread has at the time of a fork, such as the monitor that tqdm
# starts with the first bar, is never free in the child, and the first message there would wait for ever.
os.register_at_fork(after_in_child=lambda: tqdm.set_lock(threading.RLock()))


class _ConsoleHandler(logging.Handler):
    """Writes to stdout without tearing a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


def make_logger(enabled: bool = True, name: str = "recon") -> logging.Logger:
    """Returns a logger to the console that remembers its messages until `log_to_file` says where they belong.

    Args:
        enabled: False for all processes but the main one: they stay silent.
        name: A logger of this name is set up anew.
    """
    logger = logging.getLogger(name)
    close_logger(logger)
    logger.propagate = False
    logger.setLevel(logging.INFO if enabled else logging.CRITICAL + 1)
    if enabled:
        console = _ConsoleHandler()
        console.setFormatter(logging.Formatter(FORMAT, TIME_FORMAT))
        logger.addHandler(console)
        logger.addHandler(logging.handlers.MemoryHandler(10_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False))
    return logger


def log_to_file(logger: logging.Logger, path: Path, append: bool) -> None:
    """Writes the messages so far, and all later ones, to a file as well."""
    memories = [item for item in logger.handlers if isinstance(item, logging.handlers.MemoryHandler)]
    if not memories:
        return
    file = _FileHandler(path, mode="a" if append else "w", encoding="utf-8")
    file.setFormatter(logging.Formatter(FORMAT, "%Y-%m-%d %H:%M:%S"))
    for memory in memories:
        memory.setTarget(file)
        memory.flush()
        logger.removeHandler(memory)
    logger.addHandler(file)


def close_logger(logger: logging.Logger) -> None:
    """Closes the logger's files and takes its handlers away."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


class _FileHandler(logging.FileHandler):
    """Drops a message that cannot be written: what must be saved says itself that the disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Says nothing."""


class MetricsWriter:
    """Writes metrics.jsonl, one object a line, and TensorBoard scalars in tb/; makes nothing before the first `write`.

    Args:
        folder: The run folder.
        append: Go on after what is there; otherwise the first `write` starts the file anew.
        enabled: False for all processes but the main one.
    """

    def __init__(self, folder: Path, append: bool = False, enabled: bool = True) -> None:
        self.path = folder / "metrics.jsonl"
        self.num_records = 0
        self._append = append
        self._enabled = enabled
        self._file: TextIO | None = None
        self._board: Any = None

    def write(self, split: str, epoch: int, step: int, metrics: Mapping[str, torch.Tensor | float]) -> None:
        """Writes one record.

        Args:
            split: "train", "val" or "test".
            epoch: Epochs done.
            step: Optimizer steps done.
            metrics: Scalars by name; NaN and infinity become null, since JSON has neither.
        """
        if not self._enabled:
            return
        file = self._open()
        record: dict[str, Any] = {"split": split, "epoch": epoch, "step": step}
        for name, value in metrics.items():
            number = float(value)
            record[name] = number if math.isfinite(number) else None
        file.write(json.dumps(record) + "\n")
        file.flush()
        self.num_records += 1
        self._show(record)

    def rewind(self, step: int, num_records: int | None = None) -> None:
        """Drops the records that a resumed run writes again: those after `step` or, if given, after `num_records`."""
        self._append = True
        if not self._enabled or not self.path.is_file():
            return
        assert self._file is None, "rewind before the first write"
        self._keep([line for line in _records(self.path)[:num_records] if json.loads(line)["step"] <= step])

    def _keep(self, lines: Sequence[str]) -> None:
        with atomic_write(self.path) as temporary:
            temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        self.num_records = len(lines)

    def close(self) -> None:
        """Writes out what is waiting."""
        if self._file is not None:
            file, board = self._file, self._board
            self._file = self._board = None
            self._append = True
            try:
                file.close()
            finally:
                board.close()

    def _open(self) -> TextIO:
        if self._file is not None:
            return self._file
        from tensorboardX import SummaryWriter  # slow to import, and only the main process needs it

        self.path.parent.mkdir(parents=True, exist_ok=True)
        goes_on = self._append and self.path.is_file()
        earlier = _records(self.path) if goes_on else []
        if goes_on:
            self._keep(earlier)  # without half a line, which the next record would be glued to
        self._file = self.path.open("a" if self._append else "w", encoding="utf-8")
        # TensorBoard keeps events in memory for a while: those of an interrupted run may be missing, or too many.
        self._board = SummaryWriter(str(self.path.parent / "tb"), purge_step=0 if earlier else None)
        for line in earlier:
            self._show(json.loads(line))
        return self._file

    def _show(self, record: Mapping[str, Any]) -> None:
        """Gives a record to TensorBoard."""
        # Its thread dies if the disk is full, and nobody would ever take what is handed over then.
        worker = getattr(getattr(self._board.file_writer, "event_writer", None), "_worker", None)
        if worker is not None and not worker.is_alive():
            return
        for name in record.keys() - {"split", "epoch", "step"}:
            value = math.nan if record[name] is None else record[name]
            self._board.add_scalar(f"{record['split']}/{name}", value, record["step"])


def _records(path: Path) -> list[str]:
    """The lines of a metrics.jsonl that are records: a process that was killed may leave half a line."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if _is_record(line)]


def _is_record(line: str) -> bool:
    try:
        return isinstance(json.loads(line)["step"], int)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


class Progress:
    """A bar when stderr is a terminal, a log line now and then otherwise: loss, rate, shapes/s, time left.

    Args:
        total: Number of steps, those done before included.
        logger: Gets the lines.
        label: What is counted, such as "pretrain".
        start: Steps done before.
        every: Steps between two looks at the values; each look makes the host wait for the device.
        interval: Seconds between two lines.
        enabled: False for all processes but the main one.
        is_terminal: None: look at stderr.
    """

    def __init__(
        self,
        total: int,
        logger: logging.Logger,
        label: str = "train",
        start: int = 0,
        every: int = 10,
        interval: float = 30.0,
        enabled: bool = True,
        is_terminal: bool | None = None,
    ) -> None:
        self.total, self.logger, self.label, self.every, self.interval = total, logger, label, max(every, 1), interval
        self.enabled = enabled
        self.step = self._first_step = start
        self.num_shapes = 0
        self._start_time = self._last_time = time.monotonic()
        has_bar = enabled and (sys.stderr.isatty() if is_terminal is None else is_terminal)
        self._bar = tqdm(total=total, initial=start, desc=label, dynamic_ncols=True, leave=False) if has_bar else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, num_shapes: int, **values: torch.Tensor | float) -> None:
        """Counts one step.

        Args:
            num_shapes: Shapes in the step, over all processes.
            values: Scalars to show, such as loss and lr; read only when they are shown.
        """
        self.step += 1
        self.num_shapes += num_shapes
        if not self.enabled:
            return
        if self._bar is not None:
            self._bar.update()
        if self.step % self.every and self.step != self.total:
            return
        if self._bar is not None:
            self._bar.set_postfix_str(self._describe(values))
        elif time.monotonic() - self._last_time >= self.interval:
            self._last_time = time.monotonic()
            left = format_seconds(self.seconds_left)
            self.logger.info(f"{self.label} {self.step}/{self.total}  {self._describe(values)}  {left} left")

    @property
    def shapes_per_second(self) -> float:
        """Mean rate since the start, whatever happened between the steps included."""
        return self.num_shapes / max(time.monotonic() - self._start_time, 1e-9)

    @property
    def seconds_left(self) -> float:
        """Time to the last step at the mean rate so far."""
        steps = max(self.step - self._first_step, 1)
        return (time.monotonic() - self._start_time) / steps * max(self.total - self.step, 0)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _describe(self, values: Mapping[str, torch.Tensor | float]) -> str:
        numbers = [f"{name} {float(value):.4g}" for name, value in values.items()]
        return "  ".join([*numbers, f"{self.shapes_per_second:.0f} shapes/s"])


def progress_bar(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """Shows how far a loop is, with the time left; a line now and then where the output is no terminal.

    Args:
        items: What is looped over; its length is shown if it has one.
        what: What the items are: "pictures".
        total: Their number, if they do not tell it themselves.
    """
    return tqdm(items, desc=what, total=total, dynamic_ncols=True, mininterval=1 if sys.stderr.isatty() else 30)


def format_seconds(seconds: float) -> str:
    """Writes a duration: 8 s, 3 min 20 s, 2 h 05 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
