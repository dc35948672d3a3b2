"""ModelNet40 and ModelNet10: computer-aided designs of everyday objects, sampled on their surfaces.

Shape legend: n objects, N points an object.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.modelnet.files import KINDS, PARTS, ModelNetFiles
from pointrecon.datasets.modelnet.survey import survey_files
from pointrecon.datasets.packed.packed import Packed
from pointrecon.datasets.sample import Sample
from pointrecon.datasets.survey import Survey
from pointrecon.datasets.transforms import normalize_unit_sphere
from pointrecon.utils.errors import InputError, check_choice


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


def _check_same(parts: list[Packed]) -> None:
    first = parts[0]
    for part in parts[1:]:
        if part.class_names != first.class_names or part.clouds.shape[1] != first.clouds.shape[1]:
            raise InputError(
                f"'{first.clouds.path}' and '{part.clouds.path}' have different classes or numbers of points; "
                "choose one form of the files with data.options.source"
            )
