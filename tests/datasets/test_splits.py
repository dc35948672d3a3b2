"""Splits by rule: disjoint, complete, stratified, drawn the same way each time."""

import numpy as np
import pytest

from pointrecon.datasets.splits import fold_test_mask, split_rows
from pointrecon.utils.errors import InputError

CLASSES = ["big", "middle", "small"]
LABELS = np.array([0] * 40 + [1] * 15 + [2] * 8 + [-1] * 12)
NO_TEST = np.zeros(len(LABELS), dtype=bool)


def rows_of(split, is_test=NO_TEST, **options):
    return set(split_rows(split, LABELS, is_test, CLASSES, **options).tolist())


def test_folds_cover_each_labelled_object_once_and_evenly():
    masks = np.stack([fold_test_mask(LABELS, fold) for fold in range(5)])
    np.testing.assert_array_equal(masks.sum(0), LABELS >= 0)
    for label, count in enumerate(np.bincount(LABELS[LABELS >= 0])):
        sizes = masks[:, LABELS == label].sum(1)
        assert sizes.min() >= count // 5 and sizes.max() <= -(-count // 5)


def test_folds_keep_groups_together_and_are_even():
    groups = [f"{row // 3 if row < 24 else row}" for row in range(len(LABELS))]
    masks = np.stack([fold_test_mask(LABELS, fold, groups) for fold in range(5)])
    np.testing.assert_array_equal(masks.sum(0), LABELS >= 0)
    fold_of = masks.argmax(0)
    assert all(len(set(fold_of[[row, row + 1, row + 2]])) == 1 for row in range(0, 24, 3))
    for label, count in enumerate(np.bincount(LABELS[LABELS >= 0])):
        sizes = masks[:, LABELS == label].sum(1)
        assert sizes.min() == count // 5 and sizes.max() == -(-count // 5)
    assert masks[:, LABELS >= 0].sum(1).max() - masks[:, LABELS >= 0].sum(1).min() <= 1  # ties go to the emptier fold


def test_a_group_of_two_classes_is_two():
    assert fold_test_mask(np.array([0, 1, 0, 1]), 0, ["a", "a", "b", "b"]).tolist() == [True, False, False, False]


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5])
def test_splits_are_disjoint_and_complete(fraction):
    is_test = fold_test_mask(LABELS, 2)
    test, train = rows_of("test", is_test), rows_of("train", is_test, val_fraction=fraction)
    val = rows_of("val", is_test, val_fraction=fraction) if fraction else set()
    pretrain = rows_of("pretrain", is_test, val_fraction=fraction)
    labelled = set(np.flatnonzero(LABELS >= 0).tolist())
    assert test | train | val == labelled and len(test) + len(train) + len(val) == len(labelled)
    assert pretrain == (set(range(len(LABELS))) - test - val)


def test_validation_has_a_share_of_each_class_and_at_least_one():
    val = LABELS[sorted(rows_of("val", val_fraction=0.1))]
    assert np.bincount(val).tolist() == [4, 2, 1]


def test_seed_draws_validation_and_nothing_else():
    assert rows_of("val", val_fraction=0.2, seed=1) == rows_of("val", val_fraction=0.2, seed=1)
    assert rows_of("val", val_fraction=0.2, seed=1) != rows_of("val", val_fraction=0.2, seed=2)
    assert rows_of("pretrain", seed=1) == rows_of("pretrain", seed=2)


def test_shots_are_that_many_a_class_and_nested():
    five, three = rows_of("train", shots=5, seed=3), rows_of("train", shots=3, seed=3)
    assert np.bincount(LABELS[sorted(five)]).tolist() == [5, 5, 5]
    assert three < five and five != rows_of("train", shots=5, seed=4)


def test_shots_are_never_validation_objects():
    assert not rows_of("train", shots=4, val_fraction=0.3) & rows_of("val", val_fraction=0.3)


@pytest.mark.parametrize(
    ("split", "options", "message"),
    [
        ("tset", {}, "did you mean 'test'"),
        ("train", {"shots": 9}, "class 'small' has only 8"),
        ("train", {"shots": 0}, "whole number from 1"),
        ("train", {"val_fraction": 1.0}, "below 1"),
        ("val", {}, "val_fraction is 0"),
    ],
)
def test_wrong_requests_are_refused(split, options, message):
    with pytest.raises(InputError, match=message):
        rows_of(split, **options)


@pytest.mark.parametrize("fold", [-1, 5, 1.5, True])
def test_fold_out_of_range_is_refused(fold):
    with pytest.raises(InputError, match="0 to 4"):
        fold_test_mask(LABELS, fold)
