"""ShapeNetPart: 16,881 objects of 16 categories whose points are labelled with 50 kinds of parts.

Shape legend: n objects, P points an object as stored (about 2,600, another number each time), N points of an item.
"""

import logging
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pointrecon.datasets import DATASETS
from pointrecon.datasets.prompts import readable
from pointrecon.datasets.sample import Sample
from pointrecon.datasets.shapenetpart.files import (
    CATEGORIES,
    FOLDER,
    LISTS,
    NUM_OBJECTS,
    SOURCE,
    TERMS,
    Files,
    PackedObjects,
    read_object,
)
from pointrecon.datasets.splits import SPLITS, split_rows
from pointrecon.datasets.survey import Survey
from pointrecon.datasets.transforms import normalize_unit_sphere
from pointrecon.utils.errors import InputError, check_choice

RESAMPLINGS = ("fixed", "random")

log = logging.getLogger("recon")


@DATASETS.register()
class ShapeNetPart(Dataset):
    """Clouds in the unit sphere with a part label a point, resampled to a fixed number so that they make a batch.

    The first use packs the 16,881 text files into one, beside the data or, if that folder cannot be written, in the
    user's cache. The objects have no names of their own, so `text` is what the category is called.

    Training draws N of the P points anew each time, with replacement as published, from torch's global generator.

    Args:
        root: The data root; the files are in <root>/shapenetcore_partanno_segmentation_benchmark_v0_normal.
        split: `train`: the published training and validation lists together if `val_fraction` is 0, else the training
            list alone. `val`, `test`: the published lists. `pretrain`: as `train`, without `shots`.
        fold: Must be None: there are no folds.
        shots: `train` only: this many objects a category.
        val_fraction: 0, or anything else if `val` is to be held out; the validation list itself is fixed.
        seed: Draws the shots.
        images: Must be False: there are no pictures.
        on_error: An object that cannot be read: `raise`, or `skip` to leave it out.
        num_points: N.
        resample: How `val` and `test` are cut to N points. `fixed`: a choice that depends on the object alone, no
            point twice unless it has fewer than N. `random`: as in training.

    Attributes:
        class_names: The 16 categories.
        class_texts: How a category is called in a sentence.
        num_classes: 16.
        parts_of_class: The part labels of each category.
        num_parts: 50.
        labels: (n,) int64 category indices.
        names: What the category of each object is called.
        ids: Each object's key: <synset>/<name of its file>.
        num_skipped: Objects of this split that were left out.
        features_path: None: no teacher features come with the data set.

    Raises:
        InputError: A missing or damaged file, or an argument that is out of range.
    """

    def __init__(
        self,
        root: str,
        split: str = "train",
        fold: int | None = None,
        shots: int | None = None,
        val_fraction: float = 0.0,
        seed: int = 0,
        images: bool = False,
        on_error: str = "raise",
        num_points: int = 2048,
        resample: str = "fixed",
    ) -> None:
        check_choice("split", split, SPLITS)
        check_choice("data.on_error", on_error, ("raise", "skip"))
        check_choice("data.options.resample", resample, RESAMPLINGS)
        if num_points < 1:
            raise InputError(f"data.options.num_points is {num_points}, but must be at least 1")
        if fold is not None or images:
            what = "pictures" if images else "folds"
            raise InputError(f"ShapeNetPart has no {what}; leave data.fold at null and ask for no images")
        self.split = split
        self.num_points = num_points
        self.is_redrawn = split in ("train", "pretrain") or resample == "random"
        self.class_names = list(CATEGORIES)
        self.class_texts = [readable(name) for name in self.class_names]
        self.num_classes = len(self.class_names)
        self.parts_of_class = [list(parts) for parts in CATEGORIES.values()]
        self.num_parts = sum(map(len, self.parts_of_class))
        self.features_path = None

        files = Files(Path(root) / FOLDER)
        wanted = [key for name in _lists_of(split, val_fraction) for key in files.keys[name]]
        self._packed = PackedObjects(files, on_error)
        self.ids = [key for key in wanted if key in self._packed.row_of]
        self.num_skipped = len(wanted) - len(self.ids)
        if self.num_skipped:
            log.warning("left out of '%s': %d of %d objects cannot be read", split, self.num_skipped, len(wanted))
        labels = np.array([files.category_of(key) for key in self.ids], dtype=np.int64)
        if split == "train" and shots is not None:
            nothing = np.zeros(len(labels), dtype=bool)
            rows = split_rows("train", labels, nothing, self.class_names, 0.0, shots, seed)
            self.ids, labels = [self.ids[row] for row in rows], labels[rows]
        self.labels = torch.from_numpy(labels)
        self.names = [self.class_texts[label] for label in labels]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        points, part = self._packed.read(self.ids[index])
        chosen = self._choose(len(points), self.ids[index])
        # parity: the unit sphere is that of all stored points.
        whole = normalize_unit_sphere(torch.from_numpy(points)[None])[0]
        return Sample(
            points=whole[chosen],
            part=torch.from_numpy(part)[chosen],
            label=int(self.labels[index]),
            text=self.names[index],
            id=self.ids[index],
        )

    def _choose(self, count: int, key: str) -> Tensor:
        """(N,) indices of the points of an item, out of `count`; `key` is the object's."""
        if self.is_redrawn:
            # parity: with replacement
            return torch.randint(count, (self.num_points,))
        # differs from the published code: it draws the points of test objects at random as well, with replacement, so
        # that each evaluation gives another result and leaves out more than 40% of the points of an object.
        draw = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        order = torch.randperm(count, generator=draw)[: self.num_points]
        missing = self.num_points - len(order)
        return torch.cat([order, torch.randint(count, (missing,), generator=draw)])

    @staticmethod
    def survey(root: str) -> list[Survey]:
        """Says how many of the listed objects have a file; reads the first one of each category."""
        folder = Path(root) / FOLDER
        found, problem = 0, None
        try:
            files = Files(folder)
            keys = [key for name in LISTS for key in files.keys[name]]
            present = files.present()
            missing = [key for key in keys if key not in present]
            found = len(keys) - len(missing)
            if missing:
                problem = f"there is no '{files.path_of(missing[0])}' ({len(missing)} such objects)"
            first = {files.category_of(key): key for key in reversed(keys) if key in present}
            for key in first.values():
                read_object(files.path_of(key), files.category_of(key))
        except (InputError, OSError) as error:
            problem = problem or str(error)
        return [Survey("ShapeNetPart", folder, found, NUM_OBJECTS, problem, SOURCE, TERMS)]


def _lists_of(split: str, val_fraction: float) -> tuple[str, ...]:
    if split in ("val", "test"):
        return (split,)
    return ("train", "val") if val_fraction == 0 else ("train",)
