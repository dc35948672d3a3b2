"""What is checked when a published data set is read: lists of names, clouds.

Shape legend: M points.
"""

from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import InputError


def check_cloud(values: Any, what: str, num_points: int, may_have_more: bool = False) -> np.ndarray:
    """Returns the coordinates of a cloud as (M, 3) float32.

    Args:
        values: (M, 3), or (M, 6) with normals, which are dropped.
        what: The file or object, for the message.
        num_points: What M must be.
        may_have_more: M may be greater.

    Raises:
        InputError: Another shape or type, NaN or infinity, or all points in one place.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:  # lists of different lengths
        raise InputError(f"{what} holds no array; copy or download it again") from error
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] not in (3, 6) or not len(array):
        raise InputError(
            f"{what} holds {array.dtype} values of shape {array.shape}, but must hold numbers of shape "
            f"({num_points}, 3 or 6); copy or download it again"
        )
    if len(array) < num_points or (len(array) > num_points and not may_have_more):
        wanted = f"at least {num_points}" if may_have_more else num_points
        raise InputError(f"{what} has {len(array)} points, but must have {wanted}; copy or download it again")
    points = np.ascontiguousarray(array[:, :3], dtype=np.float32)
    if not np.isfinite(points).all():
        raise InputError(f"{what} has NaN or infinite coordinates; copy or download it again")
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
