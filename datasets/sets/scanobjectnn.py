"""ScanObjectNN: scanned indoor objects of 15 classes, in three published variants.

Shape legend: n objects, P points an object (2048 as published).
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from pointrecon.datasets import DATASETS
from pointrecon.datasets.checks import fault_of, is_usable, refuse_same_clouds
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.packed.hdf5_points import HDF5Points
from pointrecon.datasets.sample import Sample
from pointrecon.datasets.survey import MISSING, THERE, WRONG, Entry, Survey
from pointrecon.utils.errors import InputError, check_choice

SOURCE = "https://hkust-vgd.github.io/scanobjectnn/"
TERMS = "research use, after agreeing to the terms of use on that page"
CLASS_NAMES = (
    *("bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink"),
    *("sofa", "toilet"),
)
# variant: (folder, end of the file names, published number of training objects, of test objects)
VARIANTS = {
    "obj_bg": ("main_split", "objectdataset.h5", 2309, 581),
    "obj_only": ("main_split_nobg", "objectdataset.h5", 2309, 581),
    "pb_t50_rs": ("main_split", "objectdataset_augmentedrot_scale75.h5", 11416, 2882),
}
FOLDERS = ("ScanObjectNN", "ScanObjectNN/h5_files", "h5_files")
FILES = {"train": "training", "test": "test"}  # published split: how its files begin
_CHECKED_AT_ONCE = 256
_COMPARED = 8  # points by which two clouds are found to be the same

log = logging.getLogger("recon")


@DATASETS.register()
class ScanObjectNN(PointCloudDataset):
    """Clouds of 2048 points, y up, as stored: neither centred nor scaled.

    The files name no objects, so `names` are those of the classes. PB_T50_RS holds about five variations of each
    scanned object without saying which belong together: its `val` shares objects with `train`, and only its `test` is
    of other objects.

    Args:
        root: The data root. The files are <root>/ScanObjectNN/main_split/... and main_split_nobg/...; the release's
            own folder name, h5_files, is accepted in the place of ScanObjectNN or below it.
        splits: Which of the two files to open.
        on_error: An object with a coordinate that is no number: `raise`, or `skip` to leave it out.
        variant: `obj_bg` (with background), `obj_only`, or `pb_t50_rs` (background, shifted, turned and scaled; the
            hardest).

    Raises:
        InputError: A missing, truncated or damaged file, or an argument that is out of range.
    """

    may_mix = True
    is_uniform = True

    def __init__(
        self,
        root: str,
        *,
        splits: Sequence[str] = ("train", "test"),
        on_error: str = "raise",
        variant: str = "pb_t50_rs",
    ) -> None:
        check_choice("data.options.variant", variant, VARIANTS)
        check_choice("data.on_error", on_error, ("raise", "skip"))
        self.variant = variant
        self._files = [open_points(find_file(root, variant, FILES[split])) for split in splits]
        _refuse_shared(root, variant, dict(zip(splits, self._files, strict=True)))
        labels: list[np.ndarray] = []
        ids: list[str] = []
        self._places: list[tuple[int, int]] = []  # file and row of each object
        for number, (points, split) in enumerate(zip(self._files, splits, strict=True)):
            rows = _finite_rows(points, on_error)
            labels.append(read_labels(points)[rows])
            self._places += [(number, int(row)) for row in rows]
            ids += [f"{variant}-{split}-{row:05d}" for row in rows]
        if len({points.shape[1] for points in self._files}) > 1:
            sizes = " and ".join(f"{points.shape[1]} in '{points.path}'" for points in self._files)
            raise InputError(f"objects need equally many points, but there are {sizes}; copy the files again")
        super().__init__(
            ids=ids,
            labels=np.concatenate(labels),
            split_of=[splits[number] for number, _ in self._places],
            class_names=CLASS_NAMES,
        )
        self.num_skipped = sum(map(len, self._files)) - len(ids)

    @property
    def published_class_names(self) -> Sequence[str]:
        return [*CLASS_NAMES[:-1], "toile"]  # parity: the published prompts misspell it

    def read(self, row: int) -> Sample:
        number, place = self._places[row]
        return self.sample(row, torch.from_numpy(self._files[number][place].astype(np.float32, copy=False)))

    @staticmethod
    def survey(root: str) -> list[Survey]:
        """Says what of each variant is there; reads the labels and one object of each file."""
        return [_survey(root, variant) for variant in VARIANTS]


def _refuse_shared(root: str, variant: str, files: Mapping[str, HDF5Points]) -> None:
    """Compares the clouds of the two files, if both are there; objects have no names."""
    both = dict(files)
    for split in FILES:
        path = next((path for path in _candidates(root, variant, FILES[split]) if path.is_file()), None)
        if split not in both and path is not None:
            both[split] = open_points(path)
    if len(both) < 2:
        return
    train, test = (both[split].first(_COMPARED) for split in ("train", "test"))
    refuse_same_clouds(train, test, f"'{both['test'].path}'", f"download both files again from {SOURCE}")


def find_file(root: str | Path, variant: str, part: str) -> Path:
    """Returns the file of a variant.

    Args:
        root: The data root.
        variant: One of `VARIANTS`.
        part: `training` or `test`.

    Raises:
        InputError: It is in none of the accepted folders.
    """
    paths = _candidates(root, variant, part)
    for path in paths:
        if path.is_file():
            return path
    raise InputError(
        f"there is no '{paths[0]}'; ScanObjectNN is distributed at {SOURCE} ({TERMS}); put its files there, or set "
        "data_root to the folder that has ScanObjectNN/ in it"
    )


def open_points(path: Path) -> HDF5Points:
    """Opens the clouds of a file, (n, P, 3).

    Raises:
        InputError: The file is damaged, or holds something else.
    """
    points = HDF5Points(path, "data")
    if len(points.shape) != 3 or points.shape[2] != 3 or 0 in points.shape or points.dtype.kind != "f":
        raise InputError(
            f"'data' in '{path}' is {points.shape} {points.dtype}, but must be (objects, points, 3) floating-point "
            "numbers; copy or download the file again"
        )
    return points


def read_labels(points: HDF5Points) -> np.ndarray:
    """Returns the (n,) int64 class indices that belong to the clouds of a file.

    Raises:
        InputError: There are none, not one an object, or one is out of range.
    """
    labels = HDF5Points(points.path, "label")[:]
    if labels.size != len(points) or labels.dtype.kind not in "iuf":
        raise InputError(
            f"'label' in '{points.path}' is {labels.shape} {labels.dtype}, but there are {len(points)} objects, which "
            "need a number each; copy or download the file again"
        )
    labels = labels.reshape(-1)
    wrong = np.flatnonzero(~np.isin(labels, range(len(CLASS_NAMES))))
    if len(wrong):
        raise InputError(
            f"object {wrong[0]} in '{points.path}' has label {labels[wrong[0]]}, but labels are 0 to "
            f"{len(CLASS_NAMES) - 1} ({len(wrong)} such objects); copy or download the file again"
        )
    return labels.astype(np.int64)


def _candidates(root: str | Path, variant: str, part: str) -> list[Path]:
    folder, ending, *_ = VARIANTS[variant]
    return [Path(root) / top / folder / f"{part}_{ending}" for top in FOLDERS]


def _finite_rows(points: HDF5Points, on_error: str) -> np.ndarray:
    """Returns the rows whose coordinates are all numbers; the other ones are left out or an error."""
    starts = range(0, len(points), _CHECKED_AT_ONCE)
    is_good = np.concatenate([is_usable(points[i : i + _CHECKED_AT_ONCE]) for i in starts])
    wrong = np.flatnonzero(~is_good)
    if len(wrong):
        fault = fault_of(points[int(wrong[0])])
        what = f"object {wrong[0]} in '{points.path}' has {fault} ({len(wrong)} such objects)"
        if on_error == "raise":
            raise InputError(f"{what}; download the file again, or leave such objects out with data.on_error=skip")
        log.warning("left out: %s", what)
    return np.flatnonzero(is_good)


def _survey(root: str, variant: str) -> Survey:
    _, _, *sizes = VARIANTS[variant]
    found, problems, tree = 0, [], []
    for part, size in zip(FILES.values(), sizes, strict=True):
        paths = _candidates(root, variant, part)
        path = next((path for path in paths if path.is_file()), paths[0])
        name = f"{path.parent.name}/{path.name}"
        if not path.is_file():
            problems.append(f"there is no '{path}'")
            tree.append(Entry(name, MISSING, f"{size:,} objects"))
            continue
        try:
            points = open_points(path)
            read_labels(points)
            found += len(points)
            if not np.isfinite(points[0]).all():
                problems.append(f"object 0 in '{path}' has NaN or infinite coordinates")
            elif len(points) != size:
                problems.append(f"'{path}' has {len(points):,} objects, but {size:,} were published")
            tree.append(Entry(name, THERE, f"{len(points):,} of {size:,} objects"))
        except (InputError, OSError) as error:
            problems.append(str(error))
            tree.append(Entry(name, WRONG, f"{size:,} objects"))
    folder, problem = path.parent.parent, problems[0] if problems else None
    return Survey(f"ScanObjectNN {variant.upper()}", folder, found, sum(sizes), problem, SOURCE, TERMS, tree)
