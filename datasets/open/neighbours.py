"""Nearest neighbours of OpenShape's objects, out of its `point_feat_knn.npy`, and batches with some of them.

Shape legend: n objects of the shards, m objects of a split, K neighbours, k of them in a batch.
"""

import hashlib
from pathlib import Path

import numpy as np

from pointrecon.datasets.open.lists import find_rows
from pointrecon.datasets.open.shard_file import read_layout
from pointrecon.datasets.open.shards import OpenShards
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.files.safe_pickle import load_npy_objects

FILE = "neighbours.safetensors"
MAX_STEPS = 100_000_000  # opcodes of the pickle: about 20 an object
_NONE = -1
_REMEDY = "make it with scripts/convert_openshape.py --neighbours point_feat_knn.npy"


def write_neighbours(path: Path, shards: OpenShards) -> int:
    """Writes the neighbours of the objects of a folder of shards into it, as rows.

    Args:
        path: OpenShape's `point_feat_knn.npy`: `name` (k,) and `index`, by name the places of its neighbours.
        shards: The objects.

    Returns:
        The number of objects that have neighbours.

    Raises:
        InputError: The file is none of these, or knows none of the objects.
    """
    from safetensors.numpy import save_file

    content = load_npy_objects(path, max_steps=MAX_STEPS)
    names, index = (content.get(name) for name in ("name", "index")) if isinstance(content, dict) else (None, None)
    if names is None or not isinstance(index, dict) or not index:
        raise InputError(f"'{path}' has no 'name' and 'index'; it must be OpenShape's point_feat_knn.npy")
    own = np.array([key.rpartition(b"/")[2] for key in shards.keys], dtype=np.bytes_)
    row_of_place = find_rows(own, np.array([str(name).encode() for name in names], dtype=np.bytes_))
    width = max(np.size(places) for places in index.values())
    table = np.full((len(shards), width), _NONE, np.int32)
    for name, row in zip(index, find_rows(own, np.array([str(x).encode() for x in index])).tolist(), strict=True):
        places = np.asarray(index[name], np.int64).reshape(-1)
        if len(places) and not 0 <= places.min() <= places.max() < len(names):
            raise InputError(f"'{path}' has neighbours of '{name}' that are not among its {len(names)} names")
        if row >= 0:
            rows = row_of_place[places]
            table[row, : len(rows)] = np.where(rows == row, _NONE, rows)
    if not (found := int((table >= 0).any(axis=1).sum())):
        raise InputError(f"'{path}' knows no neighbours of the objects of '{shards.folder}'")
    with atomic_write(shards.folder / FILE) as temporary:
        save_file({"neighbours": table}, temporary, {"objects": _digest(shards)})
    return found


def open_neighbours(shards: OpenShards) -> np.ndarray:
    """(n, K) int32 rows of each object's neighbours, mapped; -1: none.

    Raises:
        InputError: They were not made, or for other objects.
    """
    path = shards.folder / FILE
    if not path.is_file():
        raise InputError(f"data.options.neighbours needs '{path}', which is not there; {_REMEDY}")
    layout = read_layout(path, {"neighbours": ("I32", (len(shards), None))}, ("objects",))
    if layout.notes["objects"] != _digest(shards):
        raise InputError(f"'{path}' was made for other objects than those of the shards beside it; {_REMEDY}")
    return layout.map()["neighbours"]


def with_neighbours(
    order: np.ndarray, rows: np.ndarray, place: np.ndarray, near: np.ndarray, count: int, seed: int, epoch: int
) -> np.ndarray:
    """An epoch in which each object is followed by some of its neighbours, in the place of those that were there.

    Args:
        order: (m,) the epoch without them, places in the split.
        rows: (m,) rows in the shards of the split's objects.
        place: (n,) the place in the split of each row; -1: not in it.
        near: (n, K) as of `open_neighbours`.
        count: k; an object with fewer in the split is followed by others.
        seed: Of the run.
        epoch: From 0.
    """
    random = np.random.RandomState((seed * 1_000_003 + epoch + 0x6E656172) % (1 << 32))
    seeds = np.arange(0, len(order), 1 + count)
    found = near[rows[order[seeds]]]
    found = np.where((found >= 0) & (found < len(place)), place[found.clip(0, len(place) - 1)], -1)
    drawn = random.random_sample(found.shape).astype(np.float32)
    drawn[found < 0] = 2.0
    chosen = np.take_along_axis(found, np.argsort(drawn, axis=1)[:, :count], axis=1)
    result = order.copy()
    for number in range(chosen.shape[1]):
        at = seeds + 1 + number
        is_there = (at < len(order)) & (chosen[:, number] >= 0)
        result[at[is_there]] = chosen[is_there, number]
    return result


def _digest(shards: OpenShards) -> str:
    return hashlib.sha256(b"\n".join(shards.keys.tolist())).hexdigest()
