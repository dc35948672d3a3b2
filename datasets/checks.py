"""What is checked when a published data set is read: lists of names, names of files, text files, clouds.

Shape legend: M points.
"""

from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.utils.errors import InputError

MAX_COORDINATE = 1e15  # the squares of larger ones overflow when a cloud is brought into the unit sphere
MAX_TEXT_BYTES = 64 << 20  # of a list or of an object's text file; the largest published one has 3 MB
MAX_LINE_BYTES = 10_000
MAX_POINTS = 10_000_000  # of a cloud that is given as a list


def is_usable(points: np.ndarray) -> np.ndarray:
    """(n, N, 3) -> (n,) bool: all coordinates of the object are numbers, and none is beyond `MAX_COORDINATE`."""
    return (np.abs(to_float32(points)) <= np.float32(MAX_COORDINATE)).all(axis=(1, 2))  # NaN compares as false


def fault_of(points: np.ndarray) -> str:
    """Says what is wrong with coordinates that are not usable."""
    is_finite = np.isfinite(to_float32(points)).all()
    return f"coordinates beyond {MAX_COORDINATE:g}" if is_finite else "NaN or infinite coordinates"


def to_float32(points: np.ndarray) -> np.ndarray:
    """Casts; numbers beyond float32 become infinite."""
    with np.errstate(over="ignore"):
        return points.astype(np.float32, copy=False)


def check_cloud(values: Any, what: str, num_points: int, may_have_more: bool = False) -> np.ndarray:
    """Returns the coordinates of a cloud as (M, 3) float32.

    Args:
        values: (M, 3), or (M, 6) with normals, which are dropped.
        what: The file or object, for the message.
        num_points: What M must be.
        may_have_more: M may be greater.

    Raises:
        InputError: Another shape or type, NaN, infinity or a coordinate beyond `MAX_COORDINATE`, or all points in one
            place.
    """
    try:
        if not isinstance(values, np.ndarray) and not _is_table(values):
            raise ValueError
        array = np.asarray(values)
    except (ValueError, OverflowError) as error:  # lists of different lengths, or numbers beyond every type
        raise InputError(
            f"{what} holds no array but {type(values).__name__}, and must hold numbers of shape "
            f"({num_points}, 3 or 6); copy or download it again"
        ) from error
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] not in (3, 6) or not len(array):
        raise InputError(
            f"{what} holds {array.dtype} values of shape {array.shape}, but must hold numbers of shape "
            f"({num_points}, 3 or 6); copy or download it again"
        )
    if len(array) < num_points or (len(array) > num_points and not may_have_more):
        wanted = f"at least {num_points}" if may_have_more else num_points
        raise InputError(f"{what} has {len(array)} points, but must have {wanted}; copy or download it again")
    points = np.ascontiguousarray(to_float32(array[:, :3]))
    if not is_usable(points[None])[0]:
        raise InputError(f"{what} has {fault_of(points)}; copy or download it again")
    if (points == points[0]).all():
        raise InputError(f"{what} has all its points in one place; copy or download it again")
    return points


def read_list(path: Path, remedy: str) -> list[str]:
    """Reads a text file with one entry a line; ends of lines may be of any kind, and blank lines do not count.

    Args:
        path: The file.
        remedy: What to do if it is missing: what it is and where it comes from.

    Raises:
        InputError: The file is missing, empty or no text.
    """
    try:
        check_text_size(path)
        # differs from the published code: the last line counts without a line end, too.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' is not a text file; {remedy}") from error
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}); {remedy}") from error
    entries = [line.strip() for line in lines if line.strip()]
    if not entries:
        raise InputError(f"'{path}' is empty; {remedy}")
    return entries


def check_text_size(path: Path) -> None:
    """Refuses a text file that is longer than any of a data set.

    Raises:
        InputError: It is.
        OSError: It cannot be looked at.
    """
    size = path.stat().st_size
    if size > MAX_TEXT_BYTES:
        raise InputError(
            f"'{path}' has {size:,} bytes, but text files have {MAX_TEXT_BYTES:,} at most; copy or download it again"
        )


def check_plain_names(names: list[str], path: Path) -> None:
    """Refuses names that would lead out of the folder where they are looked for.

    Args:
        names: Names of files or folders.
        path: The list that has them, for the message.

    Raises:
        InputError: A name has a slash in it, is '.' or '..', or is longer than names of files can be.
    """
    for name in names:
        if any(sign in name for sign in ("/", "\\", "\0")) or name in (".", "..") or len(name.encode()) > 200:
            raise InputError(f"'{path}' has the name {name!r:.80}, which is no plain name of a file; restore the list")


def _is_table(values: Any) -> bool:
    """Whether the value is a list of rows of numbers; anything deeper could take NumPy hours to look through."""
    if not isinstance(values, (list, tuple)) or len(values) > MAX_POINTS:
        return False
    return all(_is_row(row) for row in values)


def _is_row(row: Any) -> bool:
    if isinstance(row, np.ndarray):
        return row.ndim == 1
    return isinstance(row, (list, tuple)) and len(row) <= 6 and all(isinstance(x, (int, float, np.number)) for x in row)
