"""Folder: a user's own meshes and point clouds as a data set.

Shape legend: n shapes, N points per shape.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pointrecon.datasets import DATASETS
from pointrecon.datasets.checks import refuse_same_clouds
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.folder.convert import TIME_LIMIT, Converted, cache_folder_of, convert_files
from pointrecon.datasets.folder.listing import FileItem, list_files
from pointrecon.datasets.folder.packed_file import GREY, PackedShapes, is_packed, read_packed
from pointrecon.datasets.folder.pictures import make_pictures
from pointrecon.datasets.folder.up_axis import UpGuess, rotation_of
from pointrecon.datasets.packed.hdf5_points import HDF5Points
from pointrecon.datasets.sample import Sample
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import open_hdf5
from pointrecon.utils.files.pictures import PictureError, decode_picture

NUM_COMPARED = 16  # points of a cloud that tell copies of a file from others
TEST_SHARE = 0.2  # of each class, where nothing says what is for testing
AUTO = "auto"

log = logging.getLogger("recon")


@DATASETS.register()
class Folder(PointCloudDataset):
    """Files below a folder, one sub-folder a class, or files listed in a CSV table (path, label, text, split).

    The files are sampled once, in child processes; `<root>/.pointrecon` keeps the clouds and follows changed files.
    What cannot be read is left out, named in the log and counted.

    Args:
        root: The folder, a CSV file, or an HDF5 file that `pointrecon prepare pack` wrote.
        up: The axis that is up in the files: y, z, -y, -z, x, -x, or auto to guess one for all of them.
        table: A CSV file that counts instead of what the folder says; its paths are relative to `root`.
        num_stored: N, points kept a shape.
        cache: Folder for the clouds; None: inside `root`, or in the user's cache folder if that is read-only.
        jobs: Processes that read files; None: one for each core.
        time_limit: Seconds for one file.
        images: Also give a picture of each shape, drawn of its mesh, or of its points where it has no faces.
        colors: Also give `colors` (N, 3) in 0..1; what takes them asks for them.
        color_fill: Each colour where a file has none.

    Attributes:
        up: The axis that was taken to be up; None where a packed file is read.
        guess: What was guessed of it; None likewise.
        items: The files of all shapes; empty likewise.
        skipped: id -> why a file could not be read.
        cache_folder: Where the clouds are.
        has_colors: (n,) bool.
        pictures: n pictures as WebP, or None.

    Raises:
        InputError: There is no such folder, no file in it can be read, or an argument is out of range.
    """

    has_folds = True
    is_fps_ordered = True
    is_uniform = True  # every cloud is cut to the same number of points

    def __init__(
        self,
        root: str,
        *,
        up: str = AUTO,
        table: str | None = None,
        num_stored: int = 4096,
        cache: str | None = None,
        jobs: int | None = None,
        time_limit: float = TIME_LIMIT,
        images: bool = False,
        colors: bool = False,
        color_fill: float = GREY / 255,
    ) -> None:
        if up != AUTO:
            rotation_of(up)
        if num_stored < 16:
            raise InputError(f"data.options.num_stored is {num_stored}, but must be at least 16")
        place = Path(root).expanduser()
        self.up: str | None = None
        self.guess: UpGuess | None = None
        self.items: list[FileItem] = []
        self.skipped: dict[str, str] = {}
        self._rotation = torch.eye(3)
        if is_packed(place):
            self._open_packed(read_packed(place, images=images))
        else:
            folder = Path(cache).expanduser() if cache else cache_folder_of(place)
            found = convert_files(
                list_files(place, table), folder, num_points=num_stored, jobs=jobs, time_limit=time_limit
            )
            axis = found.up.axis if up == AUTO else up
            chosen = f"{found.up}; another one: data.options.up" if up == AUTO else f"up is {axis}, as given"
            log.info(f"{place}: {len(found.items)} files read, {len(found.skipped)} skipped; {chosen}")
            self.up, self.guess = axis, found.up
            self._open_converted(found, place)
            self.pictures = make_pictures(found, axis, jobs, time_limit) if images else None
        self._gives_colors, self._fill = colors, color_fill

    def _open_converted(self, found: Converted, place: Path) -> None:
        class_names = sorted({item.label for item in found.items if item.label is not None})
        label_of = {name: label for label, name in enumerate(class_names)}
        labels = np.array([-1 if item.label is None else label_of[item.label] for item in found.items])
        heads, copies = _find_copies(found.path, found.rows)
        split_of = splits_of(found.items, labels, copies)
        super().__init__(
            ids=[item.id for item in found.items],
            names=[item.text for item in found.items],
            labels=labels,
            split_of=split_of,
            class_names=class_names,
        )
        if any(item.split for item in found.items):
            is_test = split_of == "test"
            refuse_same_clouds(heads[~is_test], heads[is_test], f"'{place}'", "leave one of two equal files out")
        self._group(copies)
        self.items, self._place_of = found.items, found.rows
        self._rotation = torch.from_numpy(rotation_of(str(self.up)).astype(np.float32))
        self._points = HDF5Points(found.path, "points")
        self._colors = HDF5Points(found.path, "colors") if found.has_colors.any() else None
        self.has_colors = found.has_colors
        self.skipped, self.num_skipped = found.skipped, len(found.skipped)
        self.cache_folder = found.path.parent
        self.features_path = self.cache_folder / "teachers.h5"

    def _open_packed(self, packed: PackedShapes) -> None:
        _, copies = _find_copies(packed.path, np.arange(len(packed.ids)))
        is_split = any(packed.splits)
        split_of = (
            np.where(packed.splits == "", "train", packed.splits) if is_split else draw_test(packed.labels, copies)
        )
        super().__init__(
            ids=packed.ids,
            names=packed.texts,
            labels=packed.labels,
            split_of=split_of,
            class_names=packed.class_names,
        )
        self._group(copies)
        self._place_of, self._points, self._colors = np.arange(len(packed.ids)), packed.points, packed.colors
        self.has_colors = np.full(len(packed.ids), packed.colors is not None)
        self.pictures = packed.pictures
        self.cache_folder = packed.path.parent
        self.features_path = packed.path.with_name(f"{packed.path.stem}-teachers.h5")

    def _group(self, copies: np.ndarray) -> None:
        if len(set(copies)) < len(copies):
            self.groups = [str(copy) for copy in copies]  # a fold tests all copies of a file, or trains on all

    def read(self, row: int) -> Sample:
        """Points (N, 3) with +y up, in the unit sphere."""
        points = torch.from_numpy(np.asarray(self._points[int(self._place_of[row])], dtype=np.float32))
        if not bool(points.isfinite().all()):
            raise InputError(f"shape '{self._all.ids[row]}' in '{self._points.path}' is damaged; remove that file")
        sample = self.sample(row, points @ self._rotation.T)
        if self._gives_colors:
            sample["colors"] = self.colors(row)
        if self.pictures is not None:
            sample["image"] = _decode(self.pictures[row], sample["id"])
        return sample

    def colors(self, row: int) -> Tensor:
        """(N, 3) in 0..1, in the order of the points of that row."""
        rgb = self.stored(row)[1]
        if rgb is None:
            return torch.full((self._points.shape[1], 3), self._fill)
        return torch.from_numpy(rgb.astype(np.float32)) / 255

    def stored(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Points (N, 3) float16 in the axes of the file, and colours (N, 3) uint8 or None, of that row."""
        place = int(self._place_of[row])
        has_colors = self._colors is not None and bool(self.has_colors[row])
        return self._points[place], self._colors[place] if has_colors and self._colors is not None else None


def splits_of(items: Sequence[FileItem], labels: np.ndarray, copies: np.ndarray | None = None) -> np.ndarray:
    """(n,) train, val or test: as the folder says or, if it says nothing, a fifth of each class is for testing."""
    given = [item.split for item in items]
    return np.array([split or "train" for split in given]) if any(given) else draw_test(labels, copies)


def draw_test(labels: np.ndarray, copies: np.ndarray | None = None) -> np.ndarray:
    """(n,) train or test: a fifth of each class; the draw depends on the labels in their order alone.

    Args:
        labels: (n,) class indices; -1: no class.
        copies: (n,) equal numbers for copies of one shape, which are in one part; None: there are no copies.
    """
    split_of = np.full(len(labels), "train", dtype="<U5")
    copies = np.arange(len(labels)) if copies is None else copies
    random = np.random.RandomState(0)
    for label in np.unique(labels[labels >= 0]):
        rows = np.flatnonzero(labels == label)
        drawn = random.permutation(rows[np.sort(np.unique(copies[rows], return_index=True)[1])])  # one of each
        if len(drawn) > 1:
            picked = copies[drawn[: max(1, round(TEST_SHARE * len(drawn)))]]
            split_of[rows[np.isin(copies[rows], picked)]] = "test"
    return split_of


def _find_copies(path: Path, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first points of each cloud, (n, 16, 3) float16, and (n,) numbers that are equal where these are."""
    with open_hdf5(path, ("points",)) as file:
        heads = np.asarray(file.array("points")[:, :NUM_COMPARED])[rows]
    return heads, np.unique([head.tobytes().hex() for head in heads], return_inverse=True)[1]


def _decode(data: bytes, name: str) -> Tensor:
    try:
        pixels = decode_picture(data)
    except PictureError as error:
        raise InputError(f"the picture of '{name}' is damaged; make the pictures again ({error})") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
