"""Which objects a split holds: training, validation, test, pretraining, folds, few shots; one set of rules for all.

Everything is drawn with numpy's RandomState, whose streams never change: a split is the same on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pointrecon.datasets.dataset import UNLABELLED, PointCloudDataset
from pointrecon.utils.errors import InputError, check_choice

SPLITS = ("pretrain", "train", "val", "test")
NUM_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which objects of a data set are wanted.

    Attributes:
        split: One of `SPLITS`, or `all` for data sets that may mix: every object.
        fold: None: the published split. 0 .. 4: that fifth of the labelled objects is the test part.
        shots: `train` only: this many objects a class; None: all.
        val_fraction: Part of the labelled objects that are not for testing which becomes `val`, class by class.
        seed: Draws `val`, the shots and the part that `ratio` keeps.
        way: Number of classes of a few-shot setting; None: no such setting.
        ratio: `pretrain` and `train`: the part of their objects that is kept, evenly drawn. A smaller part is contained
            in a larger one.
        whole: `pretrain` only: the objects for testing as well; nothing may then be measured on them.
    """

    split: str
    fold: int | None = None
    shots: int | None = None
    val_fraction: float = 0.0
    seed: int = 0
    way: int | None = None
    ratio: float = 1.0
    whole: bool = False

    def __post_init__(self) -> None:
        check_choice("split", self.split, (*SPLITS, "all"))
        if isinstance(self.ratio, bool) or not isinstance(self.ratio, (int, float)) or not 0 < self.ratio <= 1:
            raise InputError(f"data.options.ratio is {self.ratio}, but must be above 0 and at most 1")
        if self.ratio < 1 and self.shots is not None:
            raise InputError(f"data.shots is {self.shots} and data.options.ratio is {self.ratio}; give one of them")


def published_splits(kind: type[PointCloudDataset], choice: Choice) -> list[str]:
    """Returns which of the published splits of a data set a choice needs, in the order of the data set."""
    there = kind.published_splits
    if choice.split == "all" or choice.whole or choice.fold is not None:
        return list(there)
    wanted = {choice.split}
    if choice.split in ("pretrain", "train"):
        # A published validation list is trained on unless something is held out.
        wanted = {"train"} if choice.val_fraction else {"train", "val"}
    if "val" not in there and choice.split == "val":
        wanted = {"train"}
    return [name for name in there if name in wanted]


def pick(dataset: PointCloudDataset, choice: Choice, *, is_split: bool = False) -> np.ndarray:
    """Returns the rows of a data set's objects that a choice names, in increasing order.

    Args:
        dataset: What to pick from.
        choice: What to pick.
        is_split: The data set has chosen the split itself; shots and a part of it may be picked.

    Raises:
        InputError: The data set has no such folds, splits or labels, or a number is out of range.
    """
    name, split = type(dataset).__name__, choice.split
    if choice.fold is not None and not dataset.has_folds:
        raise InputError(
            f"fold is {choice.fold}, but {name} has none; leave data.fold at null (few-shot folds are those of "
            "data.type=ModelNetFewShot)"
        )
    check_choice("split", split, (*SPLITS, "all") if dataset.may_mix or is_split else SPLITS)
    labels = dataset.labels.numpy() if dataset.may_pick or not is_split else np.zeros(len(dataset), dtype=np.int64)
    if split == "all" or (is_split and (choice.shots is None or split != "train")):
        rows = np.arange(len(labels))
    else:
        _check_labels(dataset, choice)
        is_test, is_val = np.zeros(len(labels), dtype=bool), None
        if choice.fold is not None:
            is_test = fold_test_mask(labels, choice.fold, dataset.groups)
        elif not is_split:
            is_test = dataset.split_of == "test"
            # A validation part that is published but was not opened is none of the objects.
            is_published = "val" in dataset.published_splits or "val" in dataset.split_of
            is_val = dataset.split_of == "val" if is_published else None
        fraction = 0.0 if is_split else choice.val_fraction
        rows = split_rows(
            split,
            labels,
            is_test,
            dataset.class_names,
            fraction,
            choice.shots,
            choice.seed,
            is_val=is_val,
            is_whole=choice.whole,
        )
    if not len(rows):
        raise InputError(f"the split '{split}' of {name} has no object; give data.fold, or files with that split")
    if choice.ratio < 1 and split in ("pretrain", "train"):
        drawn = np.random.RandomState(choice.seed).permutation(len(rows))
        rows = rows[np.sort(drawn[: max(1, round(choice.ratio * len(rows)))])]
    return rows


def _check_labels(dataset: PointCloudDataset, choice: Choice) -> None:
    """Refuses what needs labels if the data set has none."""
    name = type(dataset).__name__
    if dataset.class_names:
        return
    if choice.split in ("train", "val"):
        raise InputError(f"split is '{choice.split}', but {name} has no labels; its splits are pretrain and test")
    if choice.shots is not None or choice.val_fraction or choice.fold is not None:
        raise InputError(
            f"fold is {choice.fold}, shots {choice.shots} and val_fraction {choice.val_fraction}, but {name} has no "
            "labels to split by; leave data.fold and data.shots at null, and select at last"
        )


def fold_test_mask(labels: np.ndarray, fold: int, groups: Sequence[str] | None = None) -> np.ndarray:
    """Says which objects are the test part of a fold. The folds never change; they do not depend on a run's seed.

    Args:
        labels: (n,) class indices; -1: no class, in no fold's test part.
        fold: 0 .. 4.
        groups: n names: objects of one class that share a name are tested in one fold; None: each stands alone.

    Returns:
        (n,) bool. Over the five folds each labelled object is True once, with every class spread evenly.

    Raises:
        InputError: There is no such fold, or every class has fewer objects than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold  # a second to import, and only folds need it

    if isinstance(fold, bool) or not isinstance(fold, int) or not 0 <= fold < NUM_FOLDS:
        raise InputError(
            f"fold is {fold}, but must be 0 to {NUM_FOLDS - 1}, or null for the split that comes with the data"
        )
    if groups is not None:
        return _fold_of_groups(labels, groups) == fold
    labelled = np.flatnonzero(labels != UNLABELLED)
    if max(np.unique(labels[labelled], return_counts=True)[1], default=0) < NUM_FOLDS:
        raise InputError(
            f"fold is {fold}, but no class of the {len(labelled)} labelled objects has enough of them for {NUM_FOLDS} "
            "folds; set data.fold=null"
        )
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=0).split(labelled, labels[labelled])
    mask = np.zeros(len(labels), dtype=bool)
    mask[labelled[list(folds)[fold][1]]] = True
    return mask


def _fold_of_groups(labels: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """(n,) the fold that tests each object, -1: none: class by class, the largest group first, each into the emptiest.

    Which of two equally empty folds gets a group is that with fewer objects of other classes, then the first.
    """
    fold_of, counts = np.full(len(labels), -1), np.zeros((NUM_FOLDS, int(labels.max(initial=0)) + 1), dtype=int)
    members: dict[tuple[int, str], list[int]] = {}
    for row, key in enumerate(zip(labels.tolist(), groups, strict=True)):
        members.setdefault(key, []).append(row)
    for (label, _), rows in sorted(members.items(), key=lambda pair: (pair[0][0], -len(pair[1]), pair[0][1])):
        if label != UNLABELLED:
            fold = min(range(NUM_FOLDS), key=lambda one: (counts[one, label], counts[one].sum()))
            fold_of[rows] = fold
            counts[fold, label] += len(rows)
    return fold_of


def split_rows(
    split: str,
    labels: np.ndarray,
    is_test: np.ndarray,
    class_names: Sequence[str],
    val_fraction: float = 0.0,
    shots: int | None = None,
    seed: int = 0,
    *,
    is_val: np.ndarray | None = None,
    is_whole: bool = False,
) -> np.ndarray:
    """Returns the rows of a split, in increasing order.

    Args:
        split: `test`: the objects of `is_test`. `val`: a stratified part of the other labelled ones. `train`: the rest
            of these. `pretrain`: all that are neither test nor val, with those that have no class.
        labels: (n,) class indices; -1: no class.
        is_test: (n,) bool.
        class_names: Names of the classes, for messages.
        val_fraction: Part of the labelled objects that are not test which becomes `val`; at least one a class,
            unless it is 0.
        shots: `train` only: this many objects a class. More shots with the same seed contain fewer shots.
        seed: Draws `val` and the shots.
        is_val: (n,) bool: the published validation part; None: there is none, and `val` is drawn.
        is_whole: `pretrain` has the objects of `is_test`, too.

    Raises:
        InputError: An unknown split, a fraction or number out of range, or a class with fewer objects than `shots`.
    """
    check_choice("split", split, SPLITS)
    if not 0 <= val_fraction < 1:
        raise InputError(f"val_fraction is {val_fraction}, but must be at least 0 and below 1")
    if split == "test":
        return np.flatnonzero(is_test)
    if is_val is None:
        if split == "val" and val_fraction == 0:
            raise InputError("split 'val' is empty because val_fraction is 0; set it, for example to 0.1")
        is_val = _validation_mask(labels, is_test, val_fraction, seed)
    elif split != "val" and val_fraction == 0:
        is_val = np.zeros_like(is_val)  # trained on, as published
    if split == "val":
        return np.flatnonzero(is_val)
    if split == "pretrain":
        return np.flatnonzero(~is_val if is_whole else ~is_test & ~is_val)
    rows = np.flatnonzero(~is_test & ~is_val & (labels != UNLABELLED))
    return rows if shots is None else _pick_shots(rows, labels, class_names, shots, seed)


def _validation_mask(labels: np.ndarray, is_test: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    mask = np.zeros(len(labels), dtype=bool)
    if fraction == 0:
        return mask
    random = np.random.RandomState(seed)
    for label in np.unique(labels[labels != UNLABELLED]):
        rows = random.permutation(np.flatnonzero((labels == label) & ~is_test))
        # Each class is held out and trained on, however small it is.
        mask[rows[: min(max(1, round(fraction * len(rows))), len(rows) - 1)]] = True
    return mask


def _pick_shots(rows: np.ndarray, labels: np.ndarray, class_names: Sequence[str], shots: int, seed: int) -> np.ndarray:
    if isinstance(shots, bool) or not isinstance(shots, int) or shots < 1:
        raise InputError(f"shots is {shots}, but must be a whole number from 1, or null for all objects")
    counts = np.bincount(labels[rows], minlength=len(class_names))
    smallest = int(counts.argmin())
    if shots > counts[smallest]:
        raise InputError(
            f"shots is {shots}, but class '{class_names[smallest]}' has only {counts[smallest]} training objects; "
            f"use at most {counts[smallest]}"
        )
    random = np.random.RandomState(seed)
    picked = [random.permutation(rows[labels[rows] == label])[:shots] for label in range(len(class_names))]
    return np.sort(np.concatenate(picked))
