"""Splits: by class, and near copies all on one side."""

import numpy as np
import pytest

from pointrecon.tools.prepare.splits import group_copies, make_split
from pointrecon.utils.errors import InputError
from tests.tools.prepare.conftest import surface


def test_each_class_is_split_and_groups_stay_together():
    labels = np.repeat([0, 1, 2], [10, 20, 1])
    groups = np.arange(31)
    groups[[0, 1, 2, 3]] = 0  # four copies of one
    split = make_split(labels, groups, ["a", "b", "c"], test=0.2, val=0.1, seed=1)
    for label, count in ((0, 10), (1, 20)):
        names = split.names[labels == label].tolist()
        assert names.count("test") == 0.2 * count and names.count("val") == 0.1 * count
    assert len(set(split.names[:4])) == 1 and split.num_copies == 3
    assert split.names[30] == "train" and split.untested == ["c"]
    again = make_split(labels, groups, ["a", "b", "c"], test=0.2, val=0.1, seed=1)
    assert (again.names == split.names).all()
    assert not (make_split(labels, groups, test=0.2, seed=2, class_names="abc").names == split.names).all()


def test_copies_with_two_labels_are_named_and_shapes_of_no_class_are_for_training():
    split = make_split(np.array([0, 0, 1, 1, -1]), np.array([0, 1, 1, 3, 4]), ["a", "b"])
    assert split.conflicts == [(1, 2)] and split.names[4] == "train"
    assert split.names[1] == split.names[2]
    alone = make_split(np.full(10, -1), np.arange(10))
    assert (alone.names == "test").sum() == 2


@pytest.mark.parametrize("shares", [{"test": 1.0}, {"test": 0.6, "val": 0.4}, {"val": -0.1}])
def test_shares_out_of_range(shares):
    with pytest.raises(InputError, match="at least 0"):
        make_split(np.zeros(4, int), np.arange(4), ["a"], **shares)


def test_copies_are_found_whatever_their_order_of_points():
    clouds = np.stack([surface(0, [1, 0.1, 1]), surface(1, [0.1, 1, 0.1]), surface(0, [1, 0.1, 1])[::-1]])
    assert group_copies(clouds).tolist() == [0, 1, 0]
