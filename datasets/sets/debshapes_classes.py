"""Labelled parts of DebShapes: classes made from the paths of the files, to measure on what pretraining left out.

Shape legend: n shapes, N points per shape (8192).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.sample import Sample
from pointrecon.datasets.sets.debshapes import DebShapes
from pointrecon.datasets.splits import fold_test_mask
from pointrecon.utils.errors import InputError, check_choice

TABLES = Path(__file__).with_name("classes")
MIN_OBJECTS = 10  # of a class: with fewer, five folds leave it without test or training objects


@DATASETS.register()
class DebShapesClasses(PointCloudDataset):
    """Those shapes of DebShapes whose path says what they are. A fold has a fifth of each class for testing.

    Args:
        root: The data root; the files are in <root>/debshapes.
        classes: A table of `datasets/sets/classes`: class -> patterns of ids; the first class that fits counts.
        images: As for `DebShapes`.
        view: As for `DebShapes`.

    Raises:
        InputError: There is no such table, or the data set has less than two of its classes.
    """

    has_folds = True
    is_fps_ordered = True
    is_uniform = True

    def __init__(self, root: str, *, classes: str = "parts", images: bool = False, view: int = 0) -> None:
        patterns = read_classes(classes)
        self._data = DebShapes(root, images=images, view=view)
        self.features_path = self._data.features_path
        found = [class_of(name, patterns) for name in self._data.ids]
        names = [name for name in patterns if found.count(name) >= MIN_OBJECTS]
        if len(names) < 2:
            raise InputError(
                f"'{self._data.folder}' has {len(names)} of the classes '{classes}' with {MIN_OBJECTS} objects or "
                f"more, but two are needed; make it of the sources that datasets/sets/classes/{classes}.yaml names"
            )
        self._places = [place for place, name in enumerate(found) if name in names]
        labels = np.array([names.index(str(found[place])) for place in self._places])
        super().__init__(
            ids=[self._data.ids[place] for place in self._places],
            labels=labels,
            split_of=np.where(fold_test_mask(labels, 0), "test", "train"),
            class_names=names,
        )

    def read(self, row: int) -> Sample:
        """As `DebShapes` gives it, with the label and the class's name."""
        sample = self._data[self._places[row]]
        return {**sample, **self.sample(row, sample["points"])}


def read_classes(name: str) -> Mapping[str, Sequence[re.Pattern[str]]]:
    """A table: class -> patterns.

    Raises:
        InputError: There is no such table.
    """
    check_choice("data.options.classes", name, sorted(path.stem for path in TABLES.glob("*.yaml")))
    tree = yaml.safe_load((TABLES / f"{name}.yaml").read_text(encoding="utf-8"))
    return {kind: [re.compile(pattern) for pattern in patterns] for kind, patterns in tree.items()}


def class_of(name: str, patterns: Mapping[str, Sequence[re.Pattern[str]]]) -> str | None:
    """The first class that has a pattern which is found in an id; None: no class."""
    return next((kind for kind, found in patterns.items() if any(one.search(name) for one in found)), None)
