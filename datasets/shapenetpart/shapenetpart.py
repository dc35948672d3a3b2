"""ShapeNetPart: 16,881 objects of 16 categories whose points are labelled with 50 kinds of parts.

Shape legend: n objects, P points an object as stored (about 2,600, another number each time), N points of an item.
"""

import logging
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.sample import Sample
from pointrecon.datasets.shapenetpart.files import (
    CATEGORIES,
    FOLDER,
    LISTS,
    NUM_OBJECTS,
    PACKED_NAME,
    SOURCE,
    TERMS,
    Files,
    PackedObjects,
    read_object,
)
from pointrecon.datasets.survey import Survey, count_files, look_at
from pointrecon.datasets.transforms import normalize_unit_sphere
from pointrecon.utils.errors import InputError, check_choice

RESAMPLINGS = ("fixed", "random")

log = logging.getLogger("recon")


@DATASETS.register()
class ShapeNetPart(PointCloudDataset):
    """Clouds in the unit sphere with a part label a point, resampled to a fixed number so that they make a batch.

    The first use packs the 16,881 text files into one; see `datasets.packed`. The objects have no names of their own,
    so `names` are those of the categories. The published validation list is trained on unless `val_fraction` is above
    0; the list itself is fixed.

    Opened for training (`is_training`), N of the P points are drawn anew each time, with replacement as published, from
    torch's global generator.

    Args:
        root: The data root; the files are in <root>/shapenetcore_partanno_segmentation_benchmark_v0_normal.
        splits: The published lists.
        on_error: An object that cannot be read: `raise`, or `skip` to leave it out.
        num_points: N.
        resample: How `val` and `test` are cut to N points. `fixed`: a choice that depends on the object alone, no
            point twice unless it has fewer than N. `random`: as in training.
        cache_root: Folder for the packed file; None: beside the data.

    Raises:
        InputError: A missing or damaged file, or an argument that is out of range.
    """

    published_splits = ("train", "val", "test")
    is_uniform = True
    parts_of_class = [list(parts) for parts in CATEGORIES.values()]

    def __init__(
        self,
        root: str,
        *,
        splits: Sequence[str] = published_splits,
        on_error: str = "raise",
        num_points: int = 2048,
        resample: str = "fixed",
        cache_root: str | None = None,
    ) -> None:
        check_choice("data.on_error", on_error, ("raise", "skip"))
        check_choice("data.options.resample", resample, RESAMPLINGS)
        if num_points < 1:
            raise InputError(f"data.options.num_points is {num_points}, but must be at least 1")
        self.num_points, self.resample = num_points, resample
        files = Files(Path(root) / FOLDER)
        self._packed = PackedObjects(files, on_error, cache_root)
        wanted = [(key, split) for split in splits for key in files.keys[split]]
        there = [(key, split) for key, split in wanted if key in self._packed.row_of]
        super().__init__(
            ids=[key for key, _ in there],
            labels=[files.category_of(key) for key, _ in there],
            split_of=[split for _, split in there],
            class_names=list(CATEGORIES),
        )
        self.num_skipped = len(wanted) - len(there)
        if self.num_skipped:
            log.warning("left out: %d of %d objects cannot be read", self.num_skipped, len(wanted))

    @property
    def is_redrawn(self) -> bool:
        """Whether an item has other points each time it is read."""
        return self.is_training or self.resample == "random"

    def read(self, row: int) -> Sample:
        key = self._all.ids[row]
        points, part = self._packed.read(key)
        chosen = self._choose(len(points), key)
        # parity: the unit sphere is that of all stored points.
        whole = normalize_unit_sphere(torch.from_numpy(points)[None])[0]
        sample = self.sample(row, whole[chosen])
        sample["part"] = torch.from_numpy(part)[chosen]
        return sample

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
        tree = [look_at(folder, "synsetoffset2category.txt")]
        tree += [look_at(folder, f"train_test_split/shuffled_{name}_file_list.json") for name in LISTS]
        try:
            files = Files(folder)
            keys = [key for name in LISTS for key in files.keys[name]]
            present = files.present()
            missing = [key for key in keys if key not in present]
            found = len(keys) - len(missing)
            if missing:
                problem = f"there is no '{files.path_of(missing[0])}' ({len(missing)} such objects)"
            for category, name in enumerate(CATEGORIES):
                ours = [key for key in keys if files.category_of(key) == category]
                lacking = [f"{key}.txt is missing" for key in ours if key not in present]
                tree.append(count_files(f"{name}: <synset>/<object>.txt", len(ours), lacking))
            first = {files.category_of(key): key for key in reversed(keys) if key in present}
            for key in first.values():
                read_object(files.path_of(key), files.category_of(key))
        except (InputError, OSError) as error:
            problem = problem or str(error)
        note = "what the text files are packed into"
        tree.append(look_at(folder, f"packed/{PACKED_NAME}", note=note, is_needed=False))
        return [Survey("ShapeNetPart", folder, found, NUM_OBJECTS, problem, SOURCE, TERMS, tree)]
