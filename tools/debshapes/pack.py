"""The files of the finished data set: points, pictures and a manifest that belong together.

Shape legend: n shapes, N points per shape, K pictures a shape.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pointrecon.datasets.sets.manifest import FORMAT, MANIFEST, POINTS, VIEWS
from pointrecon.tools.debshapes.shape import read_shape
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.log import progress_bar


@dataclass(frozen=True)
class Entry:
    """One shape of the data set.

    Attributes:
        row: What the manifest says about it; has `manifest.FIELDS`.
        file: Where its points and pictures are.
    """

    row: dict[str, Any]
    file: Path


def pack_shapes(folder: Path, entries: Sequence[Entry]) -> str:
    """Writes the data set's files, each whole or not at all, the manifest last.

    Args:
        folder: Where to.
        entries: The shapes, in the order that they are to have.

    Returns:
        A checksum of the content: the manifest's lines, the points, the pictures.

    Raises:
        InputError: There is no shape, a shape's file is damaged, or the disk is full.
    """
    if not entries:
        raise InputError(f"no shape is left for '{folder}'; give more sources")
    lines = "".join(json.dumps(entry.row, ensure_ascii=False, sort_keys=True) + "\n" for entry in entries)
    total = hashlib.sha256(lines.encode())
    attributes = {"format": FORMAT, "manifest": total.hexdigest()}
    lengths: list[list[int]] = []
    _write(folder / POINTS, attributes, lambda file: _write_points(file, entries, total, lengths))
    _write(folder / VIEWS, attributes, lambda file: _write_views(file, entries, total, lengths))
    with atomic_write(folder / MANIFEST) as temporary:
        temporary.write_text(lines, encoding="utf-8")
    return total.hexdigest()


def is_packed(folder: Path) -> bool:
    """Whether a folder has all three files of one data set."""
    try:
        digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        for name in (POINTS, VIEWS):
            with h5py.File(folder / name) as file:
                if file.attrs.get("manifest") != digest:
                    return False
    except OSError:
        return False
    return True


def _write(path: Path, attributes: dict[str, str], fill: Callable[[h5py.File], None]) -> None:
    with atomic_write(path) as temporary:
        try:
            with h5py.File(temporary, "w") as file:
                fill(file)
                file.attrs.update(attributes)
        except OSError as error:
            raise InputError(f"cannot write '{path}'; is the disk full? ({error})") from error


def _write_points(file: h5py.File, entries: Sequence[Entry], total: Any, lengths: list[list[int]]) -> None:
    shape = read_shape(entries[0].file).points.shape
    points = file.create_dataset("points", (len(entries), *shape), "<f2")  # in one piece, so it can be mapped
    for row, entry in _counted(entries, "packing points"):
        kept = read_shape(entry.file)
        points[row] = kept.points
        total.update(kept.points.tobytes())
        lengths.append([len(view) for view in kept.views])
    file.create_dataset("ids", data=[entry.row["id"] for entry in entries], dtype=h5py.string_dtype())


def _write_views(file: h5py.File, entries: Sequence[Entry], total: Any, lengths: list[list[int]]) -> None:
    ends = np.cumsum(np.array(lengths, np.int64)).reshape(len(entries), -1)
    data = file.create_dataset("webp", (int(ends[-1, -1]),), "u1")
    start = 0
    for row, entry in _counted(entries, "packing pictures"):
        joined = b"".join(read_shape(entry.file).views)
        data[start : ends[row, -1]] = np.frombuffer(joined, np.uint8)
        start = int(ends[row, -1])
        total.update(joined)
    file["ends"] = ends


def _counted(entries: Sequence[Entry], what: str) -> Iterable[tuple[int, Entry]]:
    return progress_bar(list(enumerate(entries)), what)
