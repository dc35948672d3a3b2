"""DebShapes: shapes made from the meshes in Debian packages, for pretraining. How: tools/debshapes/README.md.

Shape legend: n shapes, N points per shape (8192), K pictures a shape (4).
"""

import hashlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.packed.hdf5_points import HDF5Points
from pointrecon.datasets.sample import Sample
from pointrecon.datasets.sets.manifest import FORMAT, MANIFEST, POINTS, VIEWS, read_manifest
from pointrecon.datasets.survey import Survey, look_at
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import open_hdf5
from pointrecon.utils.files.pictures import PictureError, decode_picture

FOLDER = "debshapes"
FEATURES = "teachers.h5"
TEST_PART = 50  # one shape in as many is for testing
_SOURCE = "python scripts/prepare_data.py debshapes"
_TERMS = "free licences, shape by shape in manifest.jsonl"
_REMEDY = "make the data set again with python scripts/prepare_data.py debshapes"


@DATASETS.register()
class DebShapes(PointCloudDataset):
    """Shapes without labels, each with a name and pictures drawn from its mesh.

    About one shape in 50, drawn by its id, is for testing: to look at what was not trained on.

    Args:
        root: The data root; the files are in <root>/debshapes.
        images: Also give a picture.
        view: Which one: 0 .. K - 1, seen from 30, 120, 210 and 300 degrees right of the front.
        sources: Only shapes of these sources, such as `kicad`; None: of all.

    Raises:
        InputError: The data set has not been made, its files are damaged or do not belong together, or an argument is
            out of range.
    """

    is_fps_ordered = True
    is_uniform = True

    def __init__(
        self, root: str, *, images: bool = False, view: int = 0, sources: Collection[str] | None = None
    ) -> None:
        self.folder, self.view = Path(root) / FOLDER, view
        self.features_path = self.folder / FEATURES
        rows, key = read_manifest(self.folder)
        self._points = _open(self.folder / POINTS, "points", key, len(rows))
        if len(self._points.shape) != 3 or self._points.shape[2] != 3:
            raise InputError(f"'{self.folder / POINTS}' is damaged: its points are {self._points.shape}; {_REMEDY}")
        self._places = _rows_of(rows, sources)
        ids = [str(rows[place]["id"]) for place in self._places]
        super().__init__(
            ids=ids,
            names=[str(rows[place]["text"]) for place in self._places],
            split_of=np.where(_test_mask(ids), "test", "train"),
        )
        self._pictures = _Pictures(self.folder / VIEWS, key, len(rows), view) if images else None

    def read(self, row: int) -> Sample:
        place = int(self._places[row])
        points = self._points[place].astype(np.float32)
        sample = self.sample(row, torch.from_numpy(points))
        if not np.isfinite(points).all() or (points == points[0]).all():
            raise InputError(f"shape '{sample['id']}' in '{self.folder / POINTS}' is damaged; {_REMEDY}")
        if self._pictures is not None:
            sample["image"] = self._pictures.read(place, sample["id"])
        return sample

    @staticmethod
    def survey(root: str) -> list[Survey]:
        """Says whether the data set has been made, and is whole."""
        folder, found, problem = Path(root) / FOLDER, 0, None
        try:
            rows, key = read_manifest(folder)
            _open(folder / POINTS, "points", key, len(rows))
            _Pictures(folder / VIEWS, key, len(rows), 0)
            found = len(rows)
        except (InputError, OSError) as error:
            problem = str(error)
        tree = [look_at(folder, name) for name in (MANIFEST, POINTS, VIEWS)]
        tree.append(look_at(folder, FEATURES, is_needed=False))
        return [Survey("DebShapes", folder, found, max(found, 1), problem, _SOURCE, _TERMS, tree)]


class _Pictures:
    """The pictures of one view, read from the file when they are asked for."""

    def __init__(self, path: Path, key: str, num_shapes: int, view: int) -> None:
        self.path, self.view = path, view
        self._data = _open(path, "webp", key)
        self._ends = HDF5Points(path, "ends")[:]
        is_sound = self._ends.ndim == 2 and len(self._ends) == num_shapes and self._ends.dtype.kind in "iu"
        is_sound = is_sound and self._ends.size > 0 and self._ends.ravel()[0] > 0
        if not is_sound or (np.diff(self._ends.ravel()) <= 0).any() or self._ends.ravel()[-1] > len(self._data):
            raise InputError(f"'{path}' is damaged: its pictures do not add up; {_REMEDY}")
        num_views = self._ends.shape[1]
        if isinstance(view, bool) or not isinstance(view, int) or not 0 <= view < num_views:
            raise InputError(f"data.options.view is {view}, but must be 0 to {num_views - 1}")

    def read(self, row: int, name: str) -> Tensor:
        """Returns the (3, H, W) picture of a shape, 0..1."""
        place = row * self._ends.shape[1] + self.view
        start = int(self._ends.ravel()[place - 1]) if place else 0
        data = self._data[start : int(self._ends.ravel()[place])].tobytes()
        try:
            pixels = decode_picture(data)
        except PictureError as error:
            raise InputError(f"the picture of '{name}' in '{self.path}' is damaged; {_REMEDY} ({error})") from error
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _test_mask(ids: list[str]) -> np.ndarray:
    """(n,) bool; at least one shape is for testing."""
    numbers = np.array([int.from_bytes(hashlib.sha256(f"test {name}".encode()).digest()[:4], "big") for name in ids])
    return numbers <= max(2**32 // TEST_PART, numbers.min())


def _open(path: Path, name: str, key: str, length: int | None = None) -> HDF5Points:
    with open_hdf5(path, (name,)) as file:
        made = file.text_attribute("format"), file.text_attribute("manifest")
    if made != (FORMAT, key):
        raise InputError(f"'{path}' does not belong to the '{MANIFEST}' beside it; {_REMEDY}")
    values = HDF5Points(path, name)
    if length is not None and len(values) != length:
        raise InputError(f"'{path}' has {len(values)} shapes, but '{MANIFEST}' has {length}; {_REMEDY}")
    return values


def _rows_of(rows: list[dict], sources: Collection[str] | None) -> np.ndarray:
    if sources is None:
        return np.arange(len(rows))
    wanted = {sources} if isinstance(sources, str) else set(sources)
    present = {str(row["id"]).partition(":")[0] for row in rows}
    unknown = sorted(wanted - present)
    if unknown or not wanted:
        raise InputError(f"data.options.sources names {unknown or 'nothing'}; there are: {', '.join(sorted(present))}")
    return np.array([place for place, row in enumerate(rows) if str(row["id"]).partition(":")[0] in wanted])
