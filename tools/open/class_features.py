"""Features of classes in a file of the user's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import check_file
from pointrecon.utils.files.npy import NpzError, read_npz


def read_class_features(path: Path, class_names: Sequence[str], dataset: str) -> np.ndarray:
    """The features of a set's classes, (C, D) float32 in the order of the names.

    Args:
        path: .npz with `names` (k,) and `features` (k, D), in any order and of further classes too.
        class_names: C names.
        dataset: What the set is called, for messages.

    Raises:
        InputError: The file does not exist or cannot be read, lacks a class or has a name twice, or a feature is not
            finite or all zero.
    """
    check_file(path, "file of class features")
    try:
        file = read_npz(path)
        names = [str(name) for name in file["names"]]
        rows = dict(zip(names, np.asarray(file["features"], np.float32), strict=True))
        if len(rows) < len(names):
            raise ValueError("a name is there twice")
        features = np.stack([rows[name] for name in class_names])
    except (OSError, NpzError, KeyError, ValueError) as error:
        reason = f"there is none of {error}" if isinstance(error, KeyError) else error
        raise InputError(f"'{path}' lacks `names` and `features` of the classes of {dataset} ({reason})") from error
    if features.ndim != 2 or not np.isfinite(features).all() or not features.any(axis=1).all():
        raise InputError(f"'{path}' has features of shape {features.shape[1:]}, not finite or all zero; make it again")
    return features
