"""A folder as one HDF5 file that opens at once: `data: {type: Folder, root: FILE}` reads it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pointrecon.datasets.folder.folder import Folder
from pointrecon.datasets.folder.packed_file import SUFFIXES, write_packed
from pointrecon.utils.errors import InputError
from pointrecon.utils.log import progress_bar


def pack_folder(data: Folder, out: Path, *, num_points: int | None = None) -> Path:
    """Writes the clouds of a folder, turned so that +y is up, with labels, words, splits, colours and pictures.

    Args:
        data: The folder, opened with `images` if pictures are wanted.
        out: The file, `.h5` or `.hdf5`.
        num_points: Points kept a shape, the first ones; None: all that are stored.

    Raises:
        InputError: The file's name does not end so, cannot be written, or there are fewer points.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out is '{out}', but must end with one of: {' '.join(SUFFIXES)}")
    stored = len(data.stored(0)[0])
    count = num_points or stored
    if not 16 <= count <= stored:
        raise InputError(f"--num_points is {count}, but must be 16 to {stored}")

    def shapes() -> Iterator[tuple[np.ndarray, np.ndarray | None, bytes | None]]:
        for row in progress_bar(range(len(data)), "packing shapes"):
            points = data[row]["points"][:count].numpy()
            colors = data.stored(row)[1]
            picture = data.pictures[row] if data.pictures is not None else None
            yield points, None if colors is None else colors[:count], picture

    splits = [item.split or "" for item in data.items]
    about = {"ids": data.ids, "texts": data.names, "labels": data.labels.numpy(), "splits": splits}
    about["class_names"] = data.class_names
    write_packed(
        out,
        shapes(),
        about,
        num_points=count,
        has_colors=bool(data.has_colors.any()),
        has_pictures=data.pictures is not None,
    )
    return out
