"""Zero-shot test sets as data sets for evaluators (`data.type`), and the test objects of a file that mixes them.

Shape legend: n objects, N points, C classes, E width of a text feature.
"""

import logging
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.folder.up_axis import rotation_of
from pointrecon.datasets.open.zero_shot import LVIS, MODELNET, SCAN, ZeroShotSet, find_zero_shot_sets
from pointrecon.datasets.sample import Sample
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.files.io import open_hdf5

NUM_COUNTED = 64  # objects whose points are counted, where nothing says how many are used
MIXED = 2890  # 2,309 training and 581 test objects of the unaugmented set
_RADII = 64
_TOLERANCE = 2e-3  # of the unit sphere: half precision and a shift
log = logging.getLogger("recon")


class OpenTestSet(PointCloudDataset):
    """A test set out of the zero-shot files of OpenShape, Uni3D or ULIP-2. All of its objects are for testing.

    Args:
        root: The data root.
        folder: In it, the folder of the files or one up to two folders above.
        num_points: N: of larger clouds the first points, of smaller ones some twice, drawn by their place; None: as
            many as most have.
        color_fill: Each colour of clouds that have none, 0..1.
        up: The axis that is up in the files, which have y up as published.
        on_error: `skip`: leave out objects that are not there, and count them.

    Attributes:
        class_features: (C, E) float32 as stored, of CLIP's ViT-bigG-14; None: the files have none.

    Raises:
        InputError: The files are not there or not whole, several of them are there, or an option is out of range.
    """

    published_splits = ("test",)
    has_folds = True
    is_uniform = True
    set_name: ClassVar[str]

    def __init__(
        self,
        root: str,
        *,
        folder: str = "openshape/meta_data",
        num_points: int | None = None,
        color_fill: float = 0.4,
        up: str = "y",
        on_error: str = "raise",
    ) -> None:
        if (num_points is not None and num_points < 1) or not 0 <= color_fill <= 1:
            raise InputError(
                f"data.options.num_points is {num_points} and color_fill {color_fill}, but must be at least 1 "
                "and in 0..1"
            )
        self._turn = rotation_of(up).T.astype(np.float32)
        found = find_zero_shot_sets(Path(root) / folder, skip_missing=on_error == "skip", names=(self.set_name,))
        if len(found) > 1:
            places = " and ".join(f"'{one.source}'" for one in found[:2])
            raise InputError(f"{self.set_name} is in {places}; give data.options.folder, the folder of one of them")
        self._set = self.choose(found[0])
        for note in self._set.notes:
            log.info("%s: %s", self.set_name, note)
        super().__init__(
            ids=self._set.ids,
            labels=self._set.labels,
            split_of=["test"] * len(self._set),
            class_names=self._set.class_names,
        )
        rows = np.linspace(0, len(self) - 1, min(NUM_COUNTED, len(self))).astype(int).tolist()
        self.num_points = num_points or int(np.bincount([len(self._set.read(row)[0]) for row in rows]).argmax())
        self._fill = color_fill
        features = self._set.class_features
        self.class_features = None if features is None else torch.from_numpy(features)

    def choose(self, found: ZeroShotSet) -> ZeroShotSet:
        """The objects of the files that are measured."""
        return found

    def read(self, row: int) -> Sample:
        points, colors = self._set.read(row)
        rows: Any = slice(self.num_points)
        if len(points) < self.num_points:
            more = np.random.RandomState(row).randint(0, len(points), self.num_points - len(points))
            rows = np.concatenate([np.arange(len(points)), more])
        sample = self.sample(row, torch.from_numpy(points[rows] @ self._turn))
        filled = torch.full((self.num_points, 3), self._fill)
        sample["colors"] = (
            filled if colors is None else torch.from_numpy(np.ascontiguousarray(colors[rows], np.float32))
        )
        return sample


@DATASETS.register()
class ObjaverseLVIS(OpenTestSet):
    """Objaverse-LVIS, out of its objects' own files or of converted shards that lie beside its list."""

    set_name = LVIS


@DATASETS.register()
class OpenModelNet40(OpenTestSet):
    """ModelNet40's test part in 10,000 points, of one colour."""

    set_name = MODELNET


@DATASETS.register()
class OpenScanObjectNN(OpenTestSet):
    """ScanObjectNN in 2,048 points, without colours; the file in circulation mixes training and test objects.

    Args:
        root: The data root.
        part: `test`, or `all` as in the published numbers.
        published_test: The published test file (main_split/test_objectdataset.h5), by which a mixed file's test objects
            are found; None: not there.
        folder: As for `OpenTestSet`, like all that follow.
        num_points: Likewise.
        color_fill: Likewise.
        up: Likewise.
        on_error: Likewise.
    """

    set_name = SCAN

    def __init__(
        self,
        root: str,
        *,
        part: str = "test",
        published_test: str | None = None,
        folder: str = "openshape/meta_data",
        num_points: int | None = None,
        color_fill: float = 0.4,
        up: str = "y",
        on_error: str = "raise",
    ) -> None:
        check_choice("data.options.part", part, ("test", "all"))
        self._part, self._published = part, published_test
        super().__init__(root, folder=folder, num_points=num_points, color_fill=color_fill, up=up, on_error=on_error)

    def choose(self, found: ZeroShotSet) -> ZeroShotSet:
        return test_part(found, self._published) if self._part == "test" else found


def test_part(dataset: ZeroShotSet, published: str | Path | None) -> ZeroShotSet:
    """The test objects of a ScanObjectNN file.

    Args:
        dataset: As `find_zero_shot_sets` gives it.
        published: The published test file (test_objectdataset.h5, with or without background), whose clouds are looked
            for by the distances of their points to their mean: whatever their axes, scale and order. None: not there.

    Returns:
        The objects found there; all objects of a file that is not the one in circulation.

    Raises:
        InputError: The file in circulation without the published one, or none of its clouds is found.
    """
    if published is None:
        if len(dataset) != MIXED:
            return dataset
        raise InputError(
            f"'{dataset.source}' holds {MIXED} objects: 2,309 training and 581 test objects without a mark; give the "
            "published test file main_split/test_objectdataset.h5 (--scanobjectnn-test, data.options.published_test), "
            "or take all as the published numbers do (--scanobjectnn all, data.options.part=all)"
        )
    with open_hdf5(published, ("data",)) as file:
        wanted = np.stack([radii(cloud) for cloud in np.asarray(file["data"][:], np.float32)])
    ours = np.stack([radii(dataset.read(row)[0]) for row in range(len(dataset))])
    nearest = np.array([np.abs(wanted - row).max(1).min() for row in ours])
    rows = np.flatnonzero(nearest < _TOLERANCE)
    if not len(rows):
        raise InputError(
            f"no cloud of '{published}' is in '{dataset.source}'; give the test file of the same variant (with or "
            "without background)"
        )
    return dataset.take(rows, f"{dataset.name} test", f"{len(rows)} of {len(dataset)} objects are in '{published}'")


def radii(points: np.ndarray) -> np.ndarray:
    """Quantiles of the distances to the mean, (N, 3) -> (64,): the same for a cloud in any axes, scale and order."""
    if not len(points) or not np.isfinite(points).all():
        return np.full(_RADII, np.inf, np.float32)
    distances = np.linalg.norm(points - points.mean(0), axis=1)
    return np.quantile(distances / max(float(distances.max()), 1e-12), np.linspace(0, 1, _RADII)).astype(np.float32)
