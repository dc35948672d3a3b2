"""ModelNet40 and ModelNet10: computer-aided designs of everyday objects, sampled on their surfaces.

Shape legend: n objects, N points an object.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.modelnet.files import KINDS, ModelNetFiles
from pointrecon.datasets.packed.packed import Packed, open_packed
from pointrecon.datasets.packed.places import Places
from pointrecon.datasets.sample import Sample
from pointrecon.datasets.survey import Survey
from pointrecon.datasets.transforms import normalize_unit_sphere
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.files.io import open_hdf5

PARTS = ("train", "test")
SIZES = {40: (9843, 2468), 10: (3991, 908)}  # published numbers of training and of test objects
_HOMEPAGE = "https://modelnet.cs.princeton.edu/"
_LEFT_OUT = 3  # training objects that the HDF5 form lacks; it does not say which
_MIN_BYTES_TXT = 100_000  # 10,000 lines of six numbers are about 600 kB


class ModelNet(PointCloudDataset):
    """What ModelNet40 and ModelNet10 have in common.

    The first start packs the objects of a split into one file (see `datasets.packed`); later starts only open it. The
    form `dat` takes a minute and its own size in memory; `txt` has to be parsed and sampled: minutes with the compiled
    point operations, hours without.

    Clouds are in the unit sphere of all their stored points. Objects have no names of their own, so `names` are those
    of the classes: pretraining on it with a text teacher is supervised.

    Args:
        root: The data root; the files are in <root>/ModelNet/modelnet40_normal_resampled, or in
            <root>/modelnet40_ply_hdf5_2048 or the same under <root>/ModelNet.
        splits: Which of the two parts to open.
        on_error: What to do with an object that cannot be read when the split is packed: `raise`, or `skip`: leave
            it out.
        source: Which form of the files: `dat`, `txt`, `hdf5`, or `auto`: the first of these that is there.
        num_stored: N of `dat` and `txt`; the HDF5 form has 2048.
        cache_root: Folder for the packed files; None: beside the source.

    Raises:
        InputError: Missing, truncated or damaged files, or an argument that is out of range.
    """

    size: ClassVar[int]  # 40 or 10 classes
    may_mix = True
    is_uniform = True

    def __init__(
        self,
        root: str,
        *,
        splits: Sequence[str] = PARTS,
        on_error: str = "raise",
        source: str = "auto",
        num_stored: int = 8192,
        cache_root: str | None = None,
    ) -> None:
        check_choice("data.options.source", source, ("auto", *KINDS))
        check_choice("data.on_error", on_error, ("raise", "skip"))
        files = ModelNetFiles(Path(root), self.size, num_stored, cache_root)
        self._parts = [files.open_part(part, source, on_error) for part in splits]
        _check_same(self._parts)
        self._places = [(which, row) for which, part in enumerate(self._parts) for row in range(len(part.ids))]
        super().__init__(
            ids=[name for part in self._parts for name in part.ids],
            labels=np.concatenate([part.labels for part in self._parts]),
            split_of=[splits[which] for which, _ in self._places],
            class_names=self._parts[0].class_names,
        )
        self.is_fps_ordered = all(part.is_fps_ordered for part in self._parts)
        self.num_skipped = sum(part.num_skipped for part in self._parts)

    def read(self, row: int) -> Sample:
        which, place = self._places[row]
        # parity: the unit sphere is that of all stored points, whatever is drawn from them later.
        return self.sample(row, normalize_unit_sphere(torch.from_numpy(self._parts[which].read(place))[None])[0])


@DATASETS.register()
class ModelNet40(ModelNet):
    """12,311 objects of 40 classes, 9,843 for training and 2,468 for testing; arguments as for `ModelNet`."""

    size = 40

    @staticmethod
    def survey(root: str) -> list[Survey]:
        """What is there of ModelNet40 under a data root."""
        return [survey_files(ModelNetFiles(Path(root), 40))]


@DATASETS.register()
class ModelNet10(ModelNet):
    """4,899 objects of 10 classes, 3,991 for training and 908 for testing; arguments as for `ModelNet`."""

    size = 10

    @staticmethod
    def survey(root: str) -> list[Survey]:
        """What is there of ModelNet10 under a data root."""
        return [survey_files(ModelNetFiles(Path(root), 10))]


def survey_files(files: ModelNetFiles) -> Survey:
    """Says what is there of a data set, without reading any object."""
    found, problems, kinds = 0, [], []
    for part in PARTS:
        kind = next((kind for kind in KINDS if files.has(kind, part)), "packed")
        try:
            count, problem = _SURVEYORS[kind](files, part)
        except (InputError, OSError) as error:
            count, problem = 0, str(error)
        found += count
        kinds.append(kind)
        problems += [problem] if problem else []
    expected = sum(SIZES[files.num_classes]) - (_LEFT_OUT if "hdf5" in kinds else 0)
    if not problems and found < expected:
        problems = [f"the lists name {found} objects, but {expected} are published"]
    return Survey(
        name=f"ModelNet{files.num_classes}",
        folder=files.hdf5_folder if set(kinds) == {"hdf5"} else files.folder,
        found=found,
        expected=expected,
        problem=problems[0] if problems else None,
        source=f"{_HOMEPAGE}, resampled: https://shapenet.cs.stanford.edu/media/modelnet40_normal_resampled.zip",
        terms="research use; copyright of the models remains with their authors",
    )


def _survey_dat(files: ModelNetFiles, part: str) -> tuple[int, str | None]:
    ids, _ = files.read_ids(part, files.read_names())
    path = files.dat_path(part)
    least = len(ids) * files.num_points * 3 * 4
    if path.stat().st_size < least:
        return 0, f"'{path}' has {path.stat().st_size:,} bytes, but {len(ids)} objects need {least:,} at least"
    return len(ids), None


def _survey_txt(files: ModelNetFiles, part: str) -> tuple[int, str | None]:
    class_names = files.read_names()
    ids, labels = files.read_ids(part, class_names)
    found, problem, listings = 0, None, {}
    for name, label in zip(ids, labels, strict=True):
        folder = files.folder / class_names[label]
        if folder not in listings:
            listings[folder] = _list_files(folder)
        size = listings[folder].get(f"{name}.txt")
        found += size is not None and size >= _MIN_BYTES_TXT
        if problem is None and (size or 0) < _MIN_BYTES_TXT:
            state = "is missing" if size is None else f"has only {size:,} bytes"
            problem = f"'{folder / name}.txt' {state}"
    return found, problem


def _survey_hdf5(files: ModelNetFiles, part: str) -> tuple[int, str | None]:
    is_wanted = np.isin(files.read_hdf5_names()[0], files.read_hdf5_names()[1])
    found, problem = 0, None
    for path in files.hdf5_files(part):
        try:
            with open_hdf5(path, ("data", "label")) as file:
                labels = file.read("label", "iu").reshape(-1)
                labels = labels[(labels >= 0) & (labels < len(is_wanted))]
                found += min(len(file.array("data")), int(is_wanted[labels].sum()))
        except InputError as error:
            problem = problem or str(error)
    return found, problem


def _survey_packed(files: ModelNetFiles, part: str) -> tuple[int, str | None]:
    places = Places(files.folder, files.packed_name(part, "dat"), files.cache_root).all
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        return 0, str(files.not_found(part))
    packed = open_packed(path)
    left_out = f"'{path}' was packed without {packed.num_skipped} objects that could not be read"
    return len(packed.ids), left_out if packed.num_skipped else None


_SURVEYORS = {"dat": _survey_dat, "txt": _survey_txt, "hdf5": _survey_hdf5, "packed": _survey_packed}


def _list_files(folder: Path) -> dict[str, int]:
    """Returns the sizes in bytes of the files in a folder."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}


def _check_same(parts: list[Packed]) -> None:
    first = parts[0]
    for part in parts[1:]:
        if part.class_names != first.class_names or part.clouds.shape[1] != first.clouds.shape[1]:
            raise InputError(
                f"'{first.clouds.path}' and '{part.clouds.path}' have different classes or numbers of points; "
                "choose one form of the files with data.options.source"
            )
