"""Where things made of a data set's files are kept, and that one process makes them at a time."""

import contextlib
import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from pointrecon.utils.errors import InputError
from pointrecon.utils.processes.connection import DEFAULT_TIMEOUT, TIMEOUT
from pointrecon.utils.processes.distributed import from_environment
from pointrecon.utils.processes.lock import FileLock, InUse

KEY = "data.cache_root"
MAX_UNASKED = 256 << 20  # bytes that go to a home directory without a word from its owner
_POLL = 0.5  # seconds between two looks at a lock

log = logging.getLogger("recon")


class Places:
    """The places of one file that is made of a data set.

    Args:
        folder: The data set's own folder.
        name: File name.
        cache_root: The user's choice of a folder; None: beside the data, or in the user's cache (`XDG_CACHE_HOME`, or
            ~/.cache) if that folder cannot be written.

    Attributes:
        all: Where the file may be, the preferred place first.
    """

    def __init__(self, folder: str | Path, name: str, cache_root: str | Path | None = None) -> None:
        folder = Path(folder).resolve()
        self._beside = folder / "packed" / name
        own = Path(f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}") / name
        self._chosen = None if cache_root is None else Path(cache_root).expanduser() / own
        cache = _user_cache()
        self._cached = None if cache is None else cache / "recon" / own
        self.all = [path for path in (self._chosen, self._beside, self._cached) if path is not None]

    def choose(self, num_bytes: int) -> Path:
        """Returns where to write the file.

        Args:
            num_bytes: What it takes, about.

        Raises:
            InputError: The folder of the data cannot be written, and what is left is to be asked for.
        """
        if self._chosen is not None:
            return self._chosen
        if is_writable(self._beside):
            return self._beside
        is_small = num_bytes <= MAX_UNASKED or os.environ.get("XDG_CACHE_HOME")
        if self._cached is not None and is_small and is_writable(self._cached):
            return self._cached
        raise InputError(
            f"'{self._beside.parent}' cannot be written, and the copy that is made of the data set once takes about "
            f"{num_bytes / 1e6:,.0f} MB; give {KEY}=FOLDER to say where it goes"
        )


def is_writable(path: Path) -> bool:
    """Whether a file can be made there, folders on the way included."""
    parent = path.parent
    while not os.path.exists(parent) and parent != parent.parent:  # false, too, where one may not look
        parent = parent.parent
    return os.path.isdir(parent) and os.access(parent, os.W_OK)


@contextlib.contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """In the block no other process makes the same thing: it waits until those that began before are done.

    What a process that was killed has left of its file is removed.

    Args:
        path: What is made in the block: a file, or a folder of files.
        what: The same in words.

    Raises:
        InputError: The folder cannot be written, or the other process makes no headway for `RECON_TIMEOUT` seconds.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder '{path.parent}': {error.strerror}; give {KEY}=FOLDER") from error
    advice = f"wait until it is done, or end it; {TIMEOUT} is how many seconds are waited without any headway"
    lock = FileLock(path.parent / f".{path.name}.lock", what=f"'{path}'", advice=advice)
    limit = from_environment(TIMEOUT, DEFAULT_TIMEOUT)
    seen, since = _headway(path), time.monotonic()
    has_told = False
    while not lock.is_held:
        try:
            lock.acquire()
            if not lock.is_held:  # a system without locks
                break
        except InUse as error:
            if not has_told:
                log.info("waiting: another process makes %s (%s)", what, error)
                has_told = True
            now = _headway(path)
            if now != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - since > limit:
                raise
            time.sleep(_POLL)
    try:
        for left in _temporaries(path):
            with contextlib.suppress(OSError):
                left.unlink()
        yield
    finally:
        lock.release()


def _user_cache() -> Path | None:
    """The user's folder for such things, None if there is no home: containers run under numbers that have none."""
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(given) if given else Path.home() / ".cache"
    except RuntimeError:
        return None


def _temporaries(path: Path) -> list[Path]:
    """What `utils.files.io.atomic_write` has begun to write of a file, or of the files in a folder."""
    folder, stem = (path, r".+") if path.is_dir() else (path.parent, re.escape(path.stem))
    suffix = r"\.\w+" if path.is_dir() else re.escape(path.suffix)
    pattern = re.compile(rf"\.{stem}\.\d+\.tmp{suffix}")
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if pattern.fullmatch(entry.name)]


def _headway(path: Path) -> list[tuple[str, int, int]]:
    """Changes while another process writes."""
    found = []
    for item in _temporaries(path):
        with contextlib.suppress(OSError):
            state = item.stat()
            found.append((item.name, state.st_size, state.st_mtime_ns))
    return sorted(found)
