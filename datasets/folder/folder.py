"""Folder: a user's own meshes and point clouds as a data set.

Shape legend: n shapes, N points per shape (8192).
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.folder.convert import cache_folder_of, convert_files
from pointrecon.datasets.folder.listing import FileItem, list_files
from pointrecon.datasets.folder.up_axis import rotation_of
from pointrecon.datasets.packed.hdf5_points import HDF5Points
from pointrecon.datasets.sample import Sample
from pointrecon.utils.errors import InputError

TEST_SHARE = 0.2  # of each class, where nothing says what is for testing
AUTO = "auto"

log = logging.getLogger("recon")


@DATASETS.register()
class Folder(PointCloudDataset):
    """Files below a folder, one sub-folder a class, or files listed in a CSV table (path, label, text, split).

    The files are sampled once, in child processes; `<root>/.pointrecon` keeps the clouds and follows changed files.
    What cannot be read is left out, named in the log and counted.

    Args:
        root: The folder, or a CSV file.
        up: The axis that is up in the files: y, z, -y, -z, x, -x, or auto to guess one for all of them.
        num_stored: N, points kept a shape.
        cache: Folder for the clouds; None: inside `root`, or in the user's cache folder if that is read-only.
        jobs: Processes that read files; None: one for each core.

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
        num_stored: int = 8192,
        cache: str | None = None,
        jobs: int | None = None,
    ) -> None:
        if up != AUTO:
            rotation_of(up)
        if num_stored < 16:
            raise InputError(f"data.options.num_stored is {num_stored}, but must be at least 16")
        folder = Path(root).expanduser()
        items = list_files(folder)
        converted = convert_files(
            items, Path(cache) if cache else cache_folder_of(folder), num_points=num_stored, jobs=jobs
        )
        axis = converted.up.axis if up == AUTO else up
        chosen = f"{converted.up}; another one: data.options.up" if up == AUTO else f"up is {axis}, as given"
        log.info(f"{folder}: {len(converted.items)} files read, {len(converted.skipped)} skipped; {chosen}")
        self._rotation = torch.from_numpy(rotation_of(axis).astype(np.float32))
        self._points = HDF5Points(converted.path, "points")
        class_names = sorted({item.label for item in converted.items if item.label is not None})
        label_of = {name: label for label, name in enumerate(class_names)}
        labels = np.array([-1 if item.label is None else label_of[item.label] for item in converted.items])
        super().__init__(
            ids=[item.id for item in converted.items],
            names=[item.text for item in converted.items],
            labels=labels,
            split_of=splits_of(converted.items, labels),
            class_names=class_names,
        )
        self.num_skipped = len(converted.skipped)
        self.features_path = converted.path.parent / "teachers.h5"

    def read(self, row: int) -> Sample:
        """Points (N, 3) with +y up, in the unit sphere."""
        points = torch.from_numpy(np.asarray(self._points[row], dtype=np.float32))
        return self.sample(row, points @ self._rotation.T)


def splits_of(items: Sequence[FileItem], labels: np.ndarray) -> np.ndarray:
    """(n,) train, val or test: as the folder says or, if it says nothing, a fifth of each class is for testing.

    The draw depends on the names of the files alone.
    """
    given = [item.split for item in items]
    if any(given):
        return np.array([split or "train" for split in given])
    split_of = np.full(len(items), "train", dtype="<U5")
    random = np.random.RandomState(0)
    for label in np.unique(labels[labels >= 0]):
        rows = random.permutation(np.flatnonzero(labels == label))
        if len(rows) > 1:
            split_of[rows[: max(1, round(TEST_SHARE * len(rows)))]] = "test"
    return split_of
