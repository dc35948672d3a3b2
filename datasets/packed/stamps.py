"""What files were like when something was made of them: changed ones are noticed without being read."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Stamp = list[Any]  # [name as seen from a folder, bytes, time of the last change or a number made of all of a folder]


def make_stamps(files: Sequence[Path], folder: Path) -> list[Stamp]:
    """Returns a stamp of each file or folder that is there.

    Args:
        files: Files, and folders whose files count.
        folder: From where their names are given.
    """
    return [stamp for path in files if (stamp := make_stamp(path, folder)) is not None]


def make_stamp(path: Path, folder: Path) -> Stamp | None:
    """Returns the stamp of a file, or of all the files in a folder; None: it is not there, or the folder has none."""
    if not path.exists():
        return None
    name = os.path.relpath(path, folder)
    if not path.is_dir():
        state = path.stat()
        return [name, state.st_size, state.st_mtime_ns]
    with os.scandir(path) as entries:
        found = sorted(
            (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries if entry.is_file()
        )
    if not found:
        return None
    digest = int.from_bytes(hashlib.sha256(repr(found).encode()).digest()[:7], "big")
    return [name, sum(size for _, size, _ in found), digest]


def are_current(stamps: Sequence[Stamp], folder: Path) -> bool:
    """Says whether nothing has changed since; what has gone has not: it may have been deleted to save space."""
    return all(_is_current(stamp, folder) for stamp in stamps)


def are_stamps(value: Any) -> bool:
    """Says whether a value that was read from a file is a list of stamps."""
    return isinstance(value, list) and all(
        isinstance(stamp, list) and [type(item) for item in stamp] == [str, int, int] and "\0" not in stamp[0]
        for stamp in value
    )


def _is_current(stamp: Stamp, folder: Path) -> bool:
    path = folder / stamp[0]
    if stamp[1] == 0 and path.is_dir():  # as they were made before version 0.3: by the time of the folder alone
        return path.stat().st_mtime_ns == stamp[2]
    return make_stamp(path, folder) in (None, stamp)
