"""The bundled data set: 820 models of furniture and household objects with a picture and a name each.

Where it comes from, licences and known weak spots: data/sweethome3d/README.md.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import UNLABELLED, PointCloudDataset
from pointrecon.datasets.prompts import readable
from pointrecon.datasets.sample import Sample
from pointrecon.datasets.survey import Survey, look_at
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import check_file, open_hdf5
from pointrecon.utils.files.pictures import PictureError, decode_picture

_FIELDS = ("points", "icon_webp", "name", "class", "split", "id")
_NUM_OBJECTS = 820
_SOURCE = "comes with the repository, see data/sweethome3d/README.md"
_TERMS = "CC0 or CC-BY 3.0, object by object in ATTRIBUTION.tsv"
_NEAR_COPIES = ("socket_switch",)
# Classes that join two things; a plain blank would make "stool bench" of them.
_CLASS_TEXTS = {"socket_switch": "socket or switch", "stool_bench": "stool or bench"}


@DATASETS.register()
class SweetHome3D(PointCloudDataset):
    """Point clouds of 2048 points, labels of 20 classes, the objects' own names and pictures.

    109 of its 820 objects are published for testing. Objects of no class are only of use to pretraining.

    Args:
        root: The data root; the file is <root>/sweethome3d/sweethome3d.h5.
        images: Also give the picture.

    Attributes:
        points: (n, 2048, 3) float32, y up, front +z, in the unit sphere: those of the objects that are kept.

    Raises:
        InputError: A missing, truncated or damaged file, or an argument that is out of range.
    """

    has_folds = True
    is_uniform = True

    def __init__(self, root: str, *, images: bool = False) -> None:
        folder = Path(root) / "sweethome3d"
        fields, classes = _read(folder / "sweethome3d.h5", with_icons=images)
        labels = np.where(fields["class"] < len(classes), fields["class"], UNLABELLED).astype(np.int64)
        super().__init__(
            ids=fields["id"],
            names=fields["name"],
            labels=labels,
            split_of=np.where((fields["split"] == 1) & (labels != UNLABELLED), "test", "train"),
            class_names=classes,
            class_texts=[_CLASS_TEXTS.get(name, readable(name)) for name in classes],
        )
        self.features_path = folder / "teachers.h5"
        self.near_copies = tuple(name for name in classes if name in _NEAR_COPIES)
        # One tensor, which loader workers share.
        self._points = torch.from_numpy(fields["points"].astype(np.float32))
        self._icons = [bytes(icon) for icon in fields["icon_webp"]] if images else None
        _check_points(self._points, fields["id"])

    @property
    def points(self) -> torch.Tensor:
        """A copy of the points of the objects that are kept."""
        return self._points[torch.from_numpy(np.asarray(self._rows))]

    def read(self, row: int) -> Sample:
        sample = self.sample(row, self._points[row])
        if self._icons is not None:
            sample["image"] = _decode_picture(self._icons[row], sample["id"])
        return sample

    @staticmethod
    def survey(root: str) -> list[Survey]:
        """Says whether the files that come with the repository are there and whole; reads all points."""
        folder = Path(root) / "sweethome3d"
        found, problem = 0, None
        try:
            fields, _ = _read(folder / "sweethome3d.h5", with_icons=False)
            ids = fields["id"]
            found = len(ids)
            _check_points(torch.from_numpy(fields["points"].astype(np.float32)), ids)
            check_file(folder / "teachers.h5", "teacher cache")
        except (InputError, OSError) as error:
            problem = str(error)
        tree = [look_at(folder, "sweethome3d.h5"), look_at(folder, "teachers.h5")]
        return [Survey("SweetHome3D", folder, found, _NUM_OBJECTS, problem, _SOURCE, _TERMS, tree)]


def _read(path: Path, with_icons: bool) -> tuple[dict[str, Any], list[str]]:
    """Returns the fields of all objects, and the names of the classes (`other`, the last one in the file, is none)."""
    if not path.is_file():
        raise InputError(
            f"there is no '{path}'; the file comes with the repository as data/sweethome3d/sweethome3d.h5, "
            "so restore it from there, or set data_root to the folder that has sweethome3d/ in it"
        )
    with open_hdf5(path, _FIELDS) as file:
        fields: dict[str, Any] = {name: file.read(name, "iu", 1) for name in ("class", "split")}
        fields |= {name: file.read_texts(name) for name in ("id", "name")}
        fields["points"] = file.read("points", "f", 3)
        if with_icons:
            fields["icon_webp"] = file.read_objects("icon_webp")
        classes = [str(name) for name in file.attrs["classes"]]
    num_objects = len(fields["id"])
    shape = fields["points"].shape
    is_whole = num_objects > 0 and all(len(values) == num_objects for values in fields.values())
    is_whole = is_whole and shape[1] > 0 and shape[2] == 3
    is_known = is_whole and fields["class"].min() >= 0 and fields["class"].max() < len(classes) == len(set(classes))
    if not is_known or classes[-1] != "other" or not np.isin(fields["split"], (0, 1)).all():
        raise InputError(
            f"'{path}' is damaged: points are {shape} for {num_objects} ids of {len(classes)} classes; restore "
            "it from the repository"
        )
    return fields, [name for name in classes if name != "other"]


def _check_points(points: torch.Tensor, ids: list[str]) -> None:
    is_bad = ~points.isfinite().flatten(1).all(1)  # half precision as stored: no finite one is too large
    is_zero = (points == 0).flatten(1).all(1)
    for wrong, what in ((is_bad, "NaN or infinite coordinates"), (is_zero, "all points at the origin")):
        if wrong.any():
            first = ids[int(wrong.nonzero()[0])]
            raise InputError(f"object '{first}' has {what} ({int(wrong.sum())} such objects); restore the data file")


def _decode_picture(data: bytes, name: str) -> torch.Tensor:
    try:
        pixels = decode_picture(data)
    except PictureError as error:
        raise InputError(f"the picture of object '{name}' cannot be read; restore the data file ({error})") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
