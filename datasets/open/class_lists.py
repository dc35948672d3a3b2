"""Lists of objects and of classes, and the stored text features of classes, checked for consistency.

Shape legend: C classes, E width of a text feature.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import read_json
from pointrecon.utils.files.safe_pickle import load_npy_objects


def records(path: Path, keys: Sequence[str]) -> list[dict[str, Any]]:
    """A JSON list of dicts that all have these keys."""
    rows = read_json(path)
    if not isinstance(rows, list) or not rows:
        raise InputError(f"'{path}' is no list of objects")
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or any(key not in row for key in keys):
            raise InputError(f"object {number} of '{path}' lacks {' or '.join(repr(key) for key in keys)}")
    return rows


def labels_of(categories: Sequence[str], names: Sequence[str], path: Path) -> np.ndarray:
    """The place of each category among the names, (n,) int64."""
    row_of = {name: row for row, name in enumerate(once(names, path))}
    unknown = next((name for name in categories if name not in row_of), None)
    if unknown is not None:
        raise InputError(f"'{path}' has the class '{unknown}', which is not among the {len(names)} of its class list")
    return np.array([row_of[name] for name in categories], np.int64)


def once(names: Sequence[str], path: Path) -> Sequence[str]:
    """The names, each of which must be there once: two classes of one name would have the same score."""
    if len(set(names)) < len(names):
        twice = next(name for row, name in enumerate(names) if name in names[:row])
        raise InputError(f"the class list beside '{path}' has '{twice}' twice; mend it")
    return names


def dense(name_of: Mapping[int, str], path: Path) -> list[str]:
    """Names by index; an index that no object has gets a name that says so."""
    if not name_of or max(name_of) > 100_000:
        raise InputError(f"'{path}' lists no object, or class indices beyond sense")
    return [name_of.get(index, f"class {index} (no object)") for index in range(max(name_of) + 1)]


def array_features(path: Path, count: int) -> np.ndarray | None:
    """Features (C, E) stored as an array, rows in the order of the classes; None: there is no such file."""
    if not path.is_file():
        return None
    features = load_npy_objects(path)
    if not isinstance(features, np.ndarray) or features.ndim != 2 or len(features) != count:
        raise InputError(
            f"'{path}' holds features of shape {getattr(features, 'shape', None)}, but the list beside it has {count} "
            "classes; get both from one place"
        )
    return _finite(features.astype(np.float32), path)


def dict_features(path: Path) -> dict[str, np.ndarray]:
    """Features (E,) stored by class, in the order of the file."""
    content = load_npy_objects(path)
    if not isinstance(content, dict) or not content:
        raise InputError(f"'{path}' is no dict of classes")
    found = {}
    for name, item in content.items():
        feature = item.get("open_clip_text_feat") if isinstance(item, dict) else item
        if not isinstance(feature, np.ndarray) or feature.size == 0 or feature.dtype.kind != "f":
            raise InputError(f"'{path}' has no feature for the class '{name}'")
        found[str(name)] = feature.astype(np.float32).reshape(-1)
    if len({len(feature) for feature in found.values()}) > 1:
        raise InputError(f"'{path}' has features of several widths")
    return found


def stack(stored: Mapping[str, np.ndarray], names: Sequence[str], path: Path) -> np.ndarray:
    """Features (C, E) in the order of the names."""
    missing = [name for name in names if name not in stored]
    if missing:
        raise InputError(
            f"'{path}' has no feature for the class '{missing[0]}'; its classes are others than the list's"
        )
    return _finite(np.stack([stored[name] for name in names]), path)


def _finite(features: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(features).all() or not features.any(axis=1).all():
        raise InputError(f"'{path}' has features that are not finite or all zero; download it again")
    return features
