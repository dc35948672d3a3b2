"""Files that are whole or not there: atomic writing, JSON, and HDF5 with errors that say what is wrong."""

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.checks.limits import read_bytes
from pointrecon.utils.files.json_text import MAX_JSON_BYTES, JsonError, parse_json

if TYPE_CHECKING:
    from pointrecon.utils.files.hdf5 import CheckedFile

_LOCKED = (errno.EAGAIN, errno.EACCES, errno.ENOLCK)
# What the place that is written to is at fault for, whatever is written there.
WRITE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


@contextlib.contextmanager
def atomic_write(path: str | Path, is_durable: bool = False) -> Iterator[Path]:
    """Gives a temporary path beside `path`, with the same suffix, and moves it to `path` if the block succeeds.

    A reader sees the old file or the new one, never a part, whenever the process is killed. A failed block leaves the
    old file as it was.

    Args:
        path: Where the file is to be; missing folders are made.
        is_durable: The same holds when the machine stops: the new file is on the disk before it gets its name. Slow.

    Raises:
        InputError: The folder cannot be written, or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder '{path.parent}': {error.strerror}") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        reason = "it is a folder" if path.is_dir() else f"'{path.parent}' is not writable"
        raise InputError(f"cannot write '{path}': {reason}")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        mode = _usual_mode(temporary)
        yield temporary
        if stat.S_IMODE(temporary.stat().st_mode) != mode:  # some writers make files that nobody else may read
            temporary.chmod(mode)
        if is_durable:
            _flush_to_disk(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        fault = write_fault(error)
        if fault is None:
            raise
        raise InputError(f"cannot write '{path}': {describe_write_fault(fault, path.parent)}") from error
    finally:
        with contextlib.suppress(OSError):  # a file system that has become read-only
            temporary.unlink(missing_ok=True)


def _usual_mode(path: Path) -> int:
    """The mode that a new file gets here: the system knows the umask and the folder's own defaults."""
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    path.unlink()
    return mode


def _flush_to_disk(path: Path) -> None:
    with path.open("r+b") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no such thing
                raise


def write_fault(error: BaseException | None) -> OSError | None:
    """Finds, in an error or in what led to it, that a disk is full, broken or read-only.

    torch raises a RuntimeError of its own while it handles the system's.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in WRITE_FAULTS:
            return error
        error = error.__cause__ or error.__context__
    return None


def describe_write_fault(fault: OSError, folder: str | Path) -> str:
    """Says what is wrong with the disk and what to do."""
    reason = (os.strerror(fault.errno) if fault.errno else str(fault)).lower()
    if fault.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{reason}; nothing there was changed, so mend that or give another folder"
    try:
        free = f" ({shutil.disk_usage(folder).free / 1e6:,.0f} MB are free)"
    except OSError:
        free = ""
    return f"{reason}{free}; nothing there was changed, so make room and go on"


def write_json(value: Any, path: str | Path) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: The file is missing, too large, or is not JSON.
    """
    path = check_file(path, "JSON file")
    try:
        return parse_json(read_bytes(path, MAX_JSON_BYTES))
    except JsonError as error:
        raise InputError(f"'{path}' is not valid JSON: {error}") from error


def open_hdf5(path: str | Path, required: Iterable[str] = ()) -> "CheckedFile":
    """Opens an HDF5 file for reading; in a `with` block, what a damaged file raises becomes an InputError.

    Args:
        path: The file.
        required: Names of data sets or groups that it must hold, such as "train/points".

    Raises:
        InputError: The file is missing, truncated, no HDF5 file at all, lacks a name, refers to another file, or
            claims sizes that nothing backs.
    """
    from pointrecon.utils.files.hdf5 import (
        CheckedFile,  # h5py takes longer to import than other users of this file need to run
    )

    path = check_file(path, "HDF5 file")
    try:
        file = CheckedFile(path)
    except OSError as error:
        size = path.stat().st_size
        if error.errno in _LOCKED or "unable to lock" in str(error):
            raise InputError(
                f"'{path}' is locked: another program has it open for writing; wait until that is done or, on a file "
                "system without locks, set HDF5_USE_FILE_LOCKING=FALSE"
            ) from error
        raise InputError(
            f"'{path}' ({size:,} bytes) is not a complete HDF5 file; copy or download it again ({error})"
        ) from error
    missing = [name for name in required if name not in file]
    if missing:
        names = ", ".join(sorted(file)) or "nothing"
        file.close()
        raise InputError(f"'{path}' lacks {', '.join(repr(name) for name in missing)}; it holds: {names}")
    return file


def check_file(path: str | Path, what: str) -> Path:
    """Returns `path` as a Path.

    Args:
        path: A file that has to exist.
        what: What the file is, for the message: "checkpoint".

    Raises:
        InputError: There is no such file, or it is a folder, pipe, socket or device.
    """
    path = Path(path)
    problem = find_problem(path)
    if problem is not None:
        raise InputError(f"{what} '{path}' {problem}; give the path of a file")
    return path


def find_problem(path: str | Path) -> str | None:
    """Says why there is nothing to read at a path: "is a folder"; None if a plain file is there.

    Whoever opens a named pipe waits until another program writes into it, maybe forever, and a device may have no end.
    """
    if os.path.isfile(path):  # unlike Path.is_file, also for names that the system refuses
        return None
    if os.path.isdir(path):
        return "is a folder"
    return "is no plain file but a pipe, socket or device" if os.path.exists(path) else "does not exist"
