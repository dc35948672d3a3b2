"""Labelled parts of DebShapes: classes made from the paths of the files, to measure on what pretraining left out.

Shape legend: n shapes, N points per shape (8192).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.sample import Sample
from pointrecon.datasets.sets.debshapes import DebShapes
from pointrecon.datasets.splits import NUM_FOLDS, fold_test_mask
from pointrecon.utils.errors import InputError, check_choice

TABLES = Path(__file__).with_name("classes")
MIN_OBJECTS = 10  # of a class: with fewer, five folds leave it without test or training objects


@dataclass(frozen=True)
class Table:
    """What the ids of shapes say.

    Attributes:
        classes: Class -> patterns; the first class of which one is found in an id counts.
        copies: What tells near copies apart: ids that are equal without it are one group. None: there are no groups.
        none: Patterns of ids without a class, whatever the classes say.
    """

    classes: Mapping[str, Sequence[re.Pattern[str]]]
    copies: re.Pattern[str] | None = None
    none: Sequence[re.Pattern[str]] = ()

    def class_of(self, name: str) -> str | None:
        """The class of an id; None: it has none."""
        if any(one.search(name) for one in self.none):
            return None
        return next((kind for kind, found in self.classes.items() if any(one.search(name) for one in found)), None)

    def group_of(self, name: str) -> str:
        """The group of an id."""
        return name if self.copies is None else self.copies.sub("", name)


@DATASETS.register()
class DebShapesClasses(PointCloudDataset):
    """Those shapes of DebShapes whose path says what they are. A fold has about a fifth of each class for testing.

    Args:
        root: The data root; the files are in <root>/debshapes.
        classes: A table of `datasets/sets/classes`, see `Table`. Classes of less than `MIN_OBJECTS` objects, or of
            fewer groups than there are folds, are left out.
        images: As for `DebShapes`.
        view: As for `DebShapes`.

    Raises:
        InputError: There is no such table, or the data set has less than two of its classes.
    """

    has_folds = True
    is_fps_ordered = True
    is_uniform = True

    def __init__(self, root: str, *, classes: str = "parts", images: bool = False, view: int = 0) -> None:
        table = read_table(classes)
        self._data = DebShapes(root, images=images, view=view)
        self.features_path = self._data.features_path
        found = [table.class_of(name) for name in self._data.ids]
        counts = Counter(found)
        groups = Counter(
            kind for kind, _ in {(kind, table.group_of(name)) for kind, name in zip(found, self._data.ids, strict=True)}
        )
        names = [name for name in table.classes if counts[name] >= MIN_OBJECTS and groups[name] >= NUM_FOLDS]
        if len(names) < 2:
            raise InputError(
                f"'{self._data.folder}' has {len(names)} of the classes '{classes}' with {MIN_OBJECTS} objects or "
                f"more, but two are needed; make it of the sources that datasets/sets/classes/{classes}.yaml names"
            )
        self._places = [place for place, name in enumerate(found) if name in names]
        ids = [self._data.ids[place] for place in self._places]
        labels = np.array([names.index(str(found[place])) for place in self._places])
        self.groups = None if table.copies is None else [table.group_of(name) for name in ids]
        is_test = fold_test_mask(labels, 0, self.groups)
        super().__init__(ids=ids, labels=labels, split_of=np.where(is_test, "test", "train"), class_names=names)

    def read(self, row: int) -> Sample:
        """As `DebShapes` gives it, with the label and the class's name."""
        sample = self._data[self._places[row]]
        return {**sample, **self.sample(row, sample["points"])}


def read_table(name: str) -> Table:
    """A table of `datasets/sets/classes`.

    Raises:
        InputError: There is no such table.
    """
    check_choice("data.options.classes", name, sorted(path.stem for path in TABLES.glob("*.yaml")))
    tree = yaml.safe_load((TABLES / f"{name}.yaml").read_text(encoding="utf-8"))
    classes = {kind: [re.compile(pattern) for pattern in patterns] for kind, patterns in tree["classes"].items()}
    copies = re.compile(tree["copies"]) if "copies" in tree else None
    return Table(classes, copies, [re.compile(pattern) for pattern in tree.get("none", ())])
