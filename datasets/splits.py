"""Which objects a split holds: training, validation, test, pretraining, folds, few shots; one set of rules for all.

Everything is drawn with numpy's RandomState, whose streams never change: a split is the same on every machine.
"""

from collections.abc import Sequence

import numpy as np

from pointrecon.utils.errors import InputError, check_choice

SPLITS = ("pretrain", "train", "val", "test")
NUM_FOLDS = 5
UNLABELLED = -1


def fold_test_mask(labels: np.ndarray, fold: int) -> np.ndarray:
    """Says which objects are the test part of a fold. The folds never change; they do not depend on a run's seed.

    Args:
        labels: (n,) class indices; -1: no class, in no fold's test part.
        fold: 0 .. 4.

    Returns:
        (n,) bool. Over the five folds each labelled object is True once, with every class spread evenly.

    Raises:
        InputError: There is no such fold.
    """
    from sklearn.model_selection import StratifiedKFold  # a second to import, and only folds need it

    if isinstance(fold, bool) or not isinstance(fold, int) or not 0 <= fold < NUM_FOLDS:
        raise InputError(
            f"fold is {fold}, but must be 0 to {NUM_FOLDS - 1}, or null for the split that comes with the data"
        )
    labelled = np.flatnonzero(labels != UNLABELLED)
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=0).split(labelled, labels[labelled])
    mask = np.zeros(len(labels), dtype=bool)
    mask[labelled[list(folds)[fold][1]]] = True
    return mask


def split_rows(
    split: str,
    labels: np.ndarray,
    is_test: np.ndarray,
    class_names: Sequence[str],
    val_fraction: float = 0.0,
    shots: int | None = None,
    seed: int = 0,
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

    Raises:
        InputError: An unknown split, a fraction or number out of range, or a class with fewer objects than `shots`.
    """
    check_choice("split", split, SPLITS)
    if not 0 <= val_fraction < 1:
        raise InputError(f"val_fraction is {val_fraction}, but must be at least 0 and below 1")
    if split == "test":
        return np.flatnonzero(is_test)
    if split == "val" and val_fraction == 0:
        raise InputError("split 'val' is empty because val_fraction is 0; set it, for example to 0.1")
    is_val = _validation_mask(labels, is_test, val_fraction, seed)
    if split == "val":
        return np.flatnonzero(is_val)
    if split == "pretrain":
        return np.flatnonzero(~is_test & ~is_val)
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
