"""A lock on a folder or a file for the time that one process works on it."""

import contextlib
import errno
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from pointrecon.utils.errors import InputError

try:
    import fcntl
except ImportError:  # no such locks on Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]  # the type of a module, not of its absence

_HELD = (errno.EACCES, errno.EAGAIN)
_UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # the file system has no locks


class InUse(InputError):
    """Another process has the lock."""


class FileLock:
    """A lock that the system takes back when the process ends, however it ends: a file that is left says nothing.

    It is a record lock (lockf), which child processes do not inherit and which holds between machines on network file
    systems. Within one process it does not exclude anything.

    Args:
        path: Of the lock's file, in a folder that is there; it names the holder, and is removed at the end.
        what: What is locked, in messages: "the run folder 'x'".
        advice: What to do about it.
    """

    def __init__(self, path: Path, *, what: str, advice: str) -> None:
        self.path, self.what, self.advice = path, what, advice
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this process has it."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Takes the lock, or does nothing if this process has it already.

        Raises:
            InUse: Another process has it; the message says which one, since when.
            InputError: The file cannot be written.
        """
        while not self.is_held and fcntl is not None:
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise InputError(f"cannot write '{self.path}': {(error.strerror or str(error)).lower()}") from error
            try:
                self._lock(descriptor)
                # Whoever had it before may have removed the file in between: the lock is then on one without a name.
                if self._is_in_place(descriptor):
                    self._write_holder(descriptor)
                    self._descriptor = descriptor
            finally:
                if not self.is_held:
                    os.close(descriptor)

    def release(self) -> None:
        """Gives the lock back and removes its file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):  # the folder may have gone, or have become read-only
                self.path.unlink()
            os.close(descriptor)

    def __enter__(self) -> "FileLock":
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.release()

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise InUse(f"{self.what} is in use by {self._describe_holder()}; {self.advice}") from error
            if error.errno not in _UNKNOWN:
                raise

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        ours = os.fstat(descriptor)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _write_holder(self, descriptor: int) -> None:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)

    def _describe_holder(self) -> str:
        try:
            holder = json.loads(self.path.read_text(encoding="utf-8"))
            return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        except (OSError, ValueError, KeyError, TypeError):  # it has just been made, or removed
            return "another process"
