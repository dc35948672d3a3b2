"""Coloured clouds out of other people's dicts, and the paths in their lists.

Shape legend: N points.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.safe_pickle import load_npy_objects

# What stands in front of the paths in published lists, the longest first.
MARKS = ("objaverse-processed/", "merged_for_training_final/")
OBJECTS = "merged_for_training_final"


def cloud_of(item: Any, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Coordinates and colours of an object.

    Args:
        item: A dict with `xyz` (N, 3) and perhaps `rgb` (N, 3) in 0..1 or 0..255, or an array (N, 3) or (N, 6).
        where: File and place, for messages.

    Returns:
        (N, 3) float32, and (N, 3) float32 in 0..1 or None.

    Raises:
        InputError: It has no points, or some that are not finite, or colours that do not fit.
    """
    if isinstance(item, Mapping):
        xyz, rgb = item.get("xyz"), item.get("rgb")
    else:
        try:
            array = np.asarray(item) if isinstance(item, (np.ndarray, list)) else np.zeros(0)
        except ValueError:  # rows of several lengths
            array = np.zeros(0)
        xyz, rgb = (array[:, :3], array[:, 3:6] if array.shape[1] >= 6 else None) if array.ndim == 2 else (None, None)
    if not isinstance(xyz, np.ndarray) or xyz.ndim != 2 or xyz.shape[1] != 3 or xyz.dtype.kind not in "fiu":
        raise InputError(f"{where} has no points 'xyz' (N, 3); leave it out, or download it again")
    if not len(xyz):
        raise InputError(f"{where} has no points; leave it out")
    points = np.asarray(xyz, np.float32)
    if not np.isfinite(points).all():
        raise InputError(f"{where} has NaN or infinite coordinates; leave it out")
    return points, None if rgb is None else _colors_of(rgb, len(points), where)


def _colors_of(rgb: Any, count: int, where: str) -> np.ndarray:
    if not isinstance(rgb, np.ndarray) or rgb.shape != (count, 3) or rgb.dtype.kind not in "fiu":
        raise InputError(f"{where} has colours of shape {getattr(rgb, 'shape', None)}, but {count} points need as many")
    colors = np.asarray(rgb, np.float32)
    low, high = (colors.min(), colors.max()) if count else (0.0, 0.0)
    if not (low >= 0 and high <= 255):  # NaN is neither
        raise InputError(f"{where} has colours in {low:.3g}..{high:.3g}, not in 0..1 or 0..255")
    # Files say 0..255 by being whole numbers or by having one above 1.
    return colors / 255 if rgb.dtype.kind in "iu" or high > 1 else colors


def read_object(path: Path) -> dict[str, Any]:
    """The dict of one object's .npy file.

    Raises:
        InputError: It cannot be read, or holds no dict.
    """
    content = load_npy_objects(path)
    if not isinstance(content, dict):
        raise InputError(f"'{path}' holds a {type(content).__name__}, but an object's file holds a dict")
    return content


def inner_path(data_path: str) -> PurePosixPath:
    """What a list's path means below the folder of objects: behind the publisher's own folders.

    Raises:
        InputError: It leaves the folder.
    """
    text = str(data_path).replace("\\", "/")
    for mark in (OBJECTS + "/", MARKS[0]):
        if mark in text:
            text = text.split(mark, 1)[1]
            break
    path = PurePosixPath(text.lstrip("/"))
    is_name = "\0" not in text and all(len(part.encode("utf-8", "replace")) <= 255 for part in path.parts)
    if not is_name or ".." in path.parts or not path.parts:
        shown = str(data_path)[:200]
        raise InputError(f"the path '{shown}' in a list leaves the data's folder or is none; mend it")
    return path


def find_object_root(start: Path, examples: Sequence[PurePosixPath]) -> Path | None:
    """The folder that a list's paths are below: the first of the usual ones that has one of the examples.

    Args:
        start: Where the list was found; looked at with the folders above it.
        examples: Some inner paths.
    """
    for base in (start, *list(start.parents)[:3]):
        for below in ("", OBJECTS, f"objaverse-processed/{OBJECTS}", "objaverse_processed", "Objaverse", "data"):
            if any((base / below / path).is_file() for path in examples):
                return base / below
    return None
