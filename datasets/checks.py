"""What is checked when a published data set is read: lists of names, names of files, text files, clouds.

Shape legend: M points.
"""

import codecs
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.utils.errors import InputError

MAX_COORDINATE = 1e15  # the squares of larger ones overflow when a cloud is brought into the unit sphere
MAX_LOSS = 1 / 4096  # of a cloud's radius, that float32 may move a point by
MAX_SAME = 0.01  # part of the test objects of a published file
MAX_TEXT_BYTES = 64 << 20  # of a list or of an object's text file; the largest published one has 3 MB
MAX_LINE_BYTES = 10_000
MAX_POINTS = 10_000_000  # of a cloud that is given as a list

log = logging.getLogger("recon")


def is_usable(points: np.ndarray) -> np.ndarray:
    """(n, N, 3) -> (n,) bool: the object's coordinates are numbers, none beyond `MAX_COORDINATE`, and fit float32."""
    is_in_range = (np.abs(to_float32(points)) <= np.float32(MAX_COORDINATE)).all(axis=(1, 2))  # NaN compares as false
    return is_in_range if points.dtype.itemsize <= 4 and points.dtype.kind == "f" else is_in_range & ~_is_lossy(points)


def fault_of(points: np.ndarray) -> str:
    """Says what is wrong with coordinates that are not usable."""
    short = to_float32(points)
    if not np.isfinite(short).all():
        return "NaN or infinite coordinates"
    if (np.abs(short) > MAX_COORDINATE).any():
        return f"coordinates beyond {MAX_COORDINATE:g}"
    return (
        "coordinates so far from the origin, for its size, that float32 would move its points by more than 1/4096 of "
        "its radius (subtract its centre first)"
    )


def _is_lossy(points: np.ndarray) -> np.ndarray:
    """(n, N, 3) of more digits than float32 -> (n,) bool: the cast moves a point too far."""
    with np.errstate(over="ignore", invalid="ignore"):
        exact = points.astype(np.float64)
        radius = np.abs(exact - exact.mean(axis=1, keepdims=True)).max(axis=(1, 2))
        lost = np.abs(exact - to_float32(points)).max(axis=(1, 2))
        return lost > MAX_LOSS * radius


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
    if (array[:, :3] == array[0, :3]).all():
        raise InputError(f"{what} has all its points in one place; copy or download it again")
    if not is_usable(array[None, :, :3])[0]:
        raise InputError(f"{what} has {fault_of(array[:, :3])}; copy or download it again")
    points = np.ascontiguousarray(to_float32(array[:, :3]))
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
        lines = _decode(path.read_bytes()).splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' is not a text file; {remedy}") from error
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}); {remedy}") from error
    # A mark of the byte order is no blank, and stands in the middle of files that were joined.
    entries = [entry for line in lines if (entry := line.strip().strip("\ufeff\u200b").strip())]
    if not entries:
        raise InputError(f"'{path}' is empty; {remedy}")
    return entries


def refuse_overlap(train: Iterable[str], test: Iterable[str], what: str, remedy: str) -> None:
    """Refuses a data set of which a test object is a training object as well.

    Args:
        train: Keys of the training objects, and of those for validation.
        test: Keys of the test objects.
        what: The data set with its lists, for the message.
        remedy: What to do.

    Raises:
        InputError: How many there are, and the first one.
    """
    known, test = set(train), list(test)
    both = [name for name in test if name in known]
    if both:
        raise InputError(
            f"{len(both)} of the {len(test)} test objects of {what} are training objects as well, first '{both[0]}': "
            f"what is measured on them says nothing; {remedy}"
        )


def refuse_same_clouds(
    train: Sequence[Any] | np.ndarray, test: Sequence[Any] | np.ndarray, what: str, remedy: str
) -> None:
    """`refuse_overlap` for objects without names, by their points: the same to the bit.

    A published file may have an accident in it, so up to `MAX_SAME` of the test objects are no more than a warning.

    Args:
        train: Clouds of the training objects, or the first points of each; what is no array is passed over.
        test: Those of the test objects.
        what: The data set with its files.
        remedy: What to do.

    Raises:
        InputError: There are more; how many, and the first one.
    """
    known = {np.ascontiguousarray(points).tobytes() for points in train if isinstance(points, np.ndarray)}
    same = [
        f"object {row}"
        for row, points in enumerate(test)
        if isinstance(points, np.ndarray) and np.ascontiguousarray(points).tobytes() in known
    ]
    if len(same) > MAX_SAME * len(test):
        refuse_overlap(same, [*same, *("" for _ in range(len(test) - len(same)))], what, remedy)
    elif same:
        count = len(same)
        log.warning("%d of the %d test objects of %s are training objects as well: %s", count, len(test), what, same)


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


def _decode(data: bytes) -> str:
    """UTF-8, or UTF-16 as some editors write it: with a mark of the byte order."""
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_wide else "utf-8-sig")


def _is_table(values: Any) -> bool:
    """Whether the value is a list of rows of numbers; anything deeper could take NumPy hours to look through."""
    if not isinstance(values, (list, tuple)) or len(values) > MAX_POINTS:
        return False
    return all(_is_row(row) for row in values)


def _is_row(row: Any) -> bool:
    if isinstance(row, np.ndarray):
        return row.ndim == 1
    return isinstance(row, (list, tuple)) and len(row) <= 6 and all(isinstance(x, (int, float, np.number)) for x in row)
