"""The shapes of a folder in one HDF5 file that opens at once and can be passed on: written by `pack`, read by `Folder`.

Shape legend: n shapes, N points a shape, C classes, V views.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pointrecon.datasets.packed.hdf5_points import HDF5Points
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, open_hdf5

FORMAT = "pointrecon shapes 1"
SUFFIXES = (".h5", ".hdf5")


@dataclass
class PackedShapes:
    """What such a file holds.

    Attributes:
        path: The file.
        ids: n keys.
        texts: n texts: what each shape is called.
        labels: (n,) int64 class indices; -1: no class.
        splits: (n,) train, val, test, or an empty text.
        class_names: C names.
        points: (n, N, 3) float16, +y up, in the unit sphere, farthest points first.
        colors: (n, N, 3) uint8, or None.
        pictures: n pictures as WebP, or None.
    """

    path: Path
    ids: list[str]
    texts: list[str]
    labels: np.ndarray
    splits: np.ndarray
    class_names: list[str]
    points: HDF5Points
    colors: HDF5Points | None = None
    pictures: list[bytes] | None = None


def is_packed(path: Path) -> bool:
    """Whether a path is of such a file."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def write_packed(
    path: Path,
    shapes: Iterable[tuple[np.ndarray, np.ndarray | None, bytes | None]],
    about: Mapping[str, Any],
    *,
    num_points: int,
    has_colors: bool,
    has_pictures: bool,
) -> None:
    """Writes a file, whole or not at all, one shape after the other.

    Args:
        path: Where to.
        shapes: n of points (N, 3), colours (N, 3) uint8 or None, and a picture or None.
        about: `ids`, `texts`, `labels`, `splits` and `class_names`, as in `PackedShapes`.
        num_points: N.
        has_colors: Whether colours are stored; a shape without any is grey.
        has_pictures: Whether pictures are stored.
    """
    text, count = h5py.string_dtype(), len(about["ids"])
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        points = file.create_dataset("points", (count, num_points, 3), np.float16)
        colors = file.create_dataset("colors", (count, num_points, 3), np.uint8) if has_colors else None
        pictures = file.create_dataset("pictures", (count,), h5py.vlen_dtype(np.uint8)) if has_pictures else None
        for row, (xyz, rgb, picture) in enumerate(shapes):
            points[row] = xyz
            if colors is not None:
                colors[row] = GREY if rgb is None else rgb
            if pictures is not None:
                pictures[row] = np.frombuffer(picture or b"", np.uint8)
        file.create_dataset("labels", data=np.asarray(about["labels"], np.int64))
        for name in ("ids", "texts", "splits"):
            file.create_dataset(name, data=[str(item) for item in about[name]], dtype=text)
        if about["class_names"]:
            file.create_dataset("class_names", data=list(about["class_names"]), dtype=text)


GREY = 178  # of points whose file has no colours


def read_packed(path: Path, *, images: bool = False) -> PackedShapes:
    """Opens a file; points and colours are read when they are asked for.

    Raises:
        InputError: It is no such file, is damaged, or has no pictures where they are asked for.
    """
    with open_hdf5(path, ("points", "ids")) as file:
        if file.text_attribute("format") != FORMAT:
            raise InputError(
                f"'{path}' is no file of packed shapes; give a folder, or a file that 'pointrecon prepare pack' wrote"
            )
        ids, texts, splits = (file.read_texts(name) for name in ("ids", "texts", "splits"))
        labels = file.read("labels", "i", 1)
        class_names = file.read_texts("class_names") if "class_names" in file else []
        has_colors = "colors" in file
        if images and "pictures" not in file:
            raise InputError(f"'{path}' has no pictures; pack it again with --views, or leave the image teacher out")
        pictures = [bytes(item) for item in file.read_objects("pictures")] if images else None
    points = HDF5Points(path, "points")
    colors = HDF5Points(path, "colors") if has_colors else None
    lengths = {len(ids), len(texts), len(splits), len(labels), len(points), len(ids if colors is None else colors)}
    is_cloud = len(points.shape) == 3 and points.shape[2] == 3 and (colors is None or colors.shape == points.shape)
    if not ids or len(lengths) > 1 or not is_cloud or labels.min() < -1 or labels.max() >= len(class_names):
        raise InputError(f"'{path}' is damaged: its lists do not fit its points {points.shape}; pack it again")
    return PackedShapes(path, ids, texts, labels, np.array(splits), class_names, points, colors, pictures)
