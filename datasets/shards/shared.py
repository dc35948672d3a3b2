"""Test shards that hold training samples are refused: found by what their indices say, without reading them."""

import contextlib
import os
from pathlib import Path

import numpy as np

from pointrecon.datasets.shards.index import CHECKSUM, INDEX, OFFSETS, SIZES, Index, read_index
from pointrecon.utils.errors import InputError

_TRAINED_ON = ("pretrain", "train", "val")
_MAX_LOOKED_AT = 1000  # samples that are read to tell whether they are the same or alike by chance


def refuse_shared(folder: Path, index: Index) -> None:
    """Compares the shards of a split with those of the other splits beside it.

    Args:
        folder: Of the split: `test`, or one that is trained on.
        index: Of the folder.

    Raises:
        InputError: A test sample is a training sample as well; how many, and the first one.
    """
    for name in _TRAINED_ON if folder.name == "test" else ("test",):
        other = folder.parent / name
        if not (other / INDEX).is_file():
            continue
        with contextlib.suppress(InputError):  # it is said when that split is opened
            beside = read_index(other)
            pairs = [(folder, index), (other, beside)]
            (test, tested), (train, trained) = pairs if folder.name == "test" else pairs[::-1]
            rows = [] if _is_whole(trained) else _find_shared(test, tested, train, trained)
            if rows:
                break
    else:
        return
    raise InputError(
        f"{len(rows)} of the {len(tested.positions)} samples in '{test}' are in '{train}' as well, first sample "
        f"{rows[0]}: what is measured on them says nothing; make the shards again from data whose splits share nothing"
    )


def _is_whole(index: Index) -> bool:
    """Whether the shards were made for published pretraining, which sees the test list on purpose."""
    source = index.info.get("source")
    return isinstance(source, dict) and bool(source.get("whole"))


def _find_shared(test: Path, tested: Index, train: Path, trained: Index) -> list[int]:
    """Rows of test samples whose points are those of a training sample."""
    ours, theirs = _keys(tested), _keys(trained)
    rows = np.flatnonzero(np.isin(ours, theirs))[:_MAX_LOOKED_AT]
    if not len(rows):
        return []
    place_of = {theirs[row].tobytes(): row for row in np.flatnonzero(np.isin(theirs, ours[rows]))}
    # A checksum has 32 bits, so a few are alike by chance.
    return [
        int(row)
        for row in rows
        if _points(test, tested, int(row)) == _points(train, trained, int(place_of[ours[row].tobytes()]))
    ]


def _keys(index: Index) -> np.ndarray:
    """(n,) what samples are compared by: sizes and checksum."""
    columns = [*range(SIZES.start, SIZES.stop), CHECKSUM]
    kind = np.dtype((np.void, 8 * len(columns)))
    return np.ascontiguousarray(index.positions[:, columns]).view(kind)[:, 0]


def _points(folder: Path, index: Index, row: int) -> bytes:
    """The bytes of the points of a sample."""
    position = index.positions[row]
    path = folder / index.info["shards"][int(position[0])]["name"]
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, int(position[SIZES][0]), int(position[OFFSETS][0]))
    finally:
        os.close(descriptor)
