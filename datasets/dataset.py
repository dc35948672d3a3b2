"""What every data set is: objects with ids, names and labels that are known before any of them is read."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pointrecon.datasets.prompts import readable
from pointrecon.datasets.sample import CarriedInfo, Sample
from pointrecon.datasets.survey import Survey
from pointrecon.utils.errors import InputError

UNLABELLED = -1


@dataclass(frozen=True)
class Objects:
    """What is known of n objects without reading them.

    Attributes:
        ids: Their keys, each another one.
        names: What each is called, for a text teacher. Never made from the class where the data set knows better.
        labels: (n,) int64 class indices; -1: none of the classes.
        split_of: (n,) texts: the split that each was published in, one of `train`, `val` and `test`.
    """

    ids: Sequence[str]
    names: Sequence[str]
    labels: Tensor
    split_of: np.ndarray

    def take(self, rows: np.ndarray) -> "Objects":
        """Returns the objects of these rows, in this order."""
        return Objects(
            [self.ids[row] for row in rows],
            [self.names[row] for row in rows],
            self.labels[torch.from_numpy(rows)],
            self.split_of[rows],
        )


class PointCloudDataset(Dataset[Sample], ABC):
    """All objects of a data set; `datasets.splits.pick` says which of them a split has, and `keep` keeps those.

    A data set calls `super().__init__` once it knows its objects, and implements `read`. Its constructor takes the data
    root and whatever options are its own. It may also take `splits` (published splits to open, where the others need
    not be there), and `split`, `fold`, `shots`, `way`, `seed` or `val_fraction` where these choose files: what it takes
    itself is not applied to its objects again.

    Args:
        ids: Keys of the n objects.
        names: What each is called; None: its class.
        labels: (n,) class indices; None: no object has a class.
        split_of: The published split of each; None: no object is for testing.
        class_names: C names, in the order of the labels.
        class_texts: How a class is called in a sentence; None: the name in plain letters.

    Attributes:
        class_names: C names.
        class_texts: C texts.
        features_path: The teacher cache that comes with the data set, or where its own is looked for; None: nowhere.
        carried: `image` and `text`: teacher features that come with the samples.
        near_copies: Classes that are one family of near copies; results are reported without them as well.
        groups: n names: objects of one class that share a name are near copies, which folds keep together; None: none.
        is_fps_ordered: The first k points of a cloud are its k farthest points.
        is_training: It is opened for training, so that a data set may draw a sample anew each time it is read.
        parts_of_class: The part labels of each class; empty: points have no part labels.
        members: Where its objects are from, if that is other data sets: `data` of each and the ids there.
        object_keys: (m,) int64 numbers of its objects as `tools.tasks.start` makes them of ids, where its files bring
            them; None: they do not.
        knows_objects: Whether its ids, its members or its keys say which objects it holds, for a comparison with
            other data sets.
        num_skipped: Objects that could not be read or lack something, and are left out.

    Raises:
        InputError: Two objects have one id, a label is out of range, or the lengths differ.
    """

    published_splits: ClassVar[tuple[str, ...]] = ("train", "test")  # in the order of the objects
    has_folds: ClassVar[bool] = False  # whether a fifth of the labelled objects may be the test part instead
    may_mix: ClassVar[bool] = False  # whether the split `all` may be asked for: training and test objects together
    may_pick: ClassVar[bool] = True  # whether shots and parts may be picked from it
    is_uniform: ClassVar[bool] = False  # whether it refuses a cloud of another size than the others itself

    features_path: Path | None = None
    carried: Mapping[str, CarriedInfo] = {}
    near_copies: Sequence[str] = ()
    groups: Sequence[str] | None = None
    is_fps_ordered: bool = False
    is_training: bool = False
    parts_of_class: Sequence[Sequence[int]] = ()
    members: Sequence[tuple[Mapping[str, Any], Sequence[str]]] = ()
    knows_objects: bool = True
    num_skipped: int = 0

    def __init__(
        self,
        *,
        ids: Sequence[str],
        names: Sequence[str] | None = None,
        labels: Sequence[int] | np.ndarray | Tensor | None = None,
        split_of: Sequence[str] | np.ndarray | None = None,
        class_names: Sequence[str] = (),
        class_texts: Sequence[str] | None = None,
    ) -> None:
        self.class_names = list(class_names)
        self.class_texts = [readable(name) for name in class_names] if class_texts is None else list(class_texts)
        numbers = torch.full((len(ids),), UNLABELLED) if labels is None else torch.as_tensor(labels).long()
        if len(numbers) and not UNLABELLED <= int(numbers.min()) <= int(numbers.max()) < len(class_names):
            raise InputError(
                f"{type(self).__name__} has labels from {int(numbers.min())} to {int(numbers.max())}, but with "
                f"{len(class_names)} classes they are -1 (none of them) to {len(class_names) - 1}"
            )
        if names is None:
            names = [self.class_texts[label] if label >= 0 else "" for label in numbers.tolist()]
        published = np.full(len(ids), "train") if split_of is None else np.asarray(split_of, dtype=str)
        if not len(ids) == len(names) == len(numbers) == len(published):
            raise InputError(
                f"{type(self).__name__} has {len(ids)} ids, {len(names)} names, {len(numbers)} labels and "
                f"{len(published)} splits, but needs one of each for an object"
            )
        _refuse_twice(ids, published, type(self).__name__)
        self._all = self._kept = Objects(ids, names, numbers, published)
        self._rows: range | np.ndarray = range(len(ids))

    @abstractmethod
    def read(self, row: int) -> Sample:
        """Reads an object.

        Args:
            row: Its place among all objects, whatever is kept; see `sample`.

        Raises:
            InputError: It cannot be read; the message names it.
        """

    @property
    def ids(self) -> Sequence[str]:
        """Keys of the objects, in the order of the items."""
        return self._kept.ids

    @property
    def names(self) -> Sequence[str]:
        """What the objects are called."""
        return self._kept.names

    @property
    def labels(self) -> Tensor:
        """(n,) int64 class indices; -1: none of the classes."""
        return self._kept.labels

    @property
    def split_of(self) -> np.ndarray:
        """(n,) the published split of each object."""
        return self._kept.split_of

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_names)

    @property
    def num_parts(self) -> int:
        """Number of part labels; 0: points have none."""
        return sum(map(len, self.parts_of_class))

    @property
    def object_keys(self) -> np.ndarray | None:
        """(m,) int64; see above."""
        return None

    @property
    def is_redrawn(self) -> bool:
        """Whether a sample is drawn anew each time it is read, from torch's global generator."""
        return False

    @property
    def published_class_names(self) -> Sequence[str]:
        """The names of the classes as published prompts have them."""
        return self.class_names

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        return self.read(int(self._rows[index]))

    def sample(self, row: int, points: Tensor) -> Sample:
        """Returns the item of an object: its (N, 3) points and what is known of it."""
        known = self._all
        return Sample(points=points, label=int(known.labels[row]), text=known.names[row], id=known.ids[row])

    def keep(self, rows: Sequence[int] | np.ndarray) -> None:
        """Keeps the objects of these rows, counted among those that are kept now, in this order."""
        picked = np.asarray(rows, dtype=np.int64)
        if not np.array_equal(picked, np.arange(len(self))):
            self._rows = np.asarray(self._rows)[picked]
            self._kept = self._all.take(self._rows)

    def leave_out(self, ids: Collection[str]) -> None:
        """Leaves out objects of which something else is missing, such as a teacher's features, and counts them.

        Raises:
            InputError: None would be left.
        """
        gone = set(ids)
        rows = [row for row, name in enumerate(self.ids) if name not in gone]
        if not rows:
            raise InputError(f"none of the {len(self)} objects of {type(self).__name__} is left; make its files again")
        self.num_skipped += len(self) - len(rows)
        self.keep(rows)

    def epoch_order(self, seed: int, epoch: int) -> np.ndarray | None:
        """The (n,) order of a training epoch, for data that has to be read in one of its own; None: any will do."""
        return None

    @staticmethod
    def survey(root: str) -> list[Survey]:
        """Says what of the data set is there under a data root, for --check-data; an empty list: it cannot tell."""
        return []


def _refuse_twice(ids: Sequence[str], split_of: np.ndarray, name: str) -> None:
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    twice = [(first[key], row) for row, key in enumerate(ids) if first.setdefault(key, row) != row]
    mixed = [pair for pair in twice if split_of[pair[0]] != split_of[pair[1]]]
    one, other = (mixed or twice)[0]
    where = f"both in {split_of[one]} and in {split_of[other]}" if mixed else "twice"
    raise InputError(
        f"{name} has {len(mixed or twice)} objects {where}, first '{ids[one]}'; each may be there once, so restore or "
        "mend its lists"
    )
