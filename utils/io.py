"""Files that are whole or not there: atomic writing, JSON, and HDF5 with errors that say what is wrong."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import InputError

if TYPE_CHECKING:
    import h5py


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, with the same suffix, and moves it to `path` if the block succeeds.

    A reader sees the old file or the new one, never a part. A failed block leaves the old file as it was.

    Args:
        path: Where the file is to be; missing folders are made.

    Raises:
        InputError: The folder cannot be written.
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
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(value: Any, path: str | Path) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: The file is missing or is not JSON.
    """
    path = check_file(path, "JSON file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' is not valid JSON: {error}") from error


def open_hdf5(path: str | Path, required: Iterable[str] = ()) -> "h5py.File":
    """Opens an HDF5 file for reading.

    Args:
        path: The file.
        required: Names of data sets or groups that it must hold, such as "train/points".

    Raises:
        InputError: The file is missing, truncated, no HDF5 file at all, or lacks a name.
    """
    import h5py  # takes longer to import than the rest of this file's users need to run

    path = check_file(path, "HDF5 file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        size = path.stat().st_size
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
        InputError: There is no such file.
    """
    path = Path(path)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{what} '{path}' {problem}; give the path of a file")
    return path
