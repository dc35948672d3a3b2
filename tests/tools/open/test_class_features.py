"""Features of classes from a file of the user's."""

import numpy as np
import pytest

from pointrecon.tools.open.class_features import read_class_features
from pointrecon.utils.errors import InputError

NAMES = ("chair", "table")


def _write(path, names, features):
    np.savez(path, names=np.array(names), features=np.array(features, np.float32))
    return path


def test_rows_come_in_the_order_of_the_classes(tmp_path):
    path = _write(tmp_path / "a.npz", ["table", "lamp", "chair"], [[1, 0], [0, 2], [3, 3]])
    assert read_class_features(path, NAMES, "a set").tolist() == [[3, 3], [1, 0]]


def test_a_missing_file_is_called_missing(tmp_path):
    with pytest.raises(InputError, match="nowhere.npz' does not exist"):
        read_class_features(tmp_path / "nowhere.npz", NAMES, "a set")
    with pytest.raises(InputError, match="is a folder"):
        read_class_features(tmp_path, NAMES, "a set")


@pytest.mark.parametrize(
    ("names", "features", "reason"),
    [
        (["chair"], [[1, 2]], "there is none of 'table'"),
        (["chair", "table", "chair"], [[1, 2], [3, 4], [5, 6]], "a name is there twice"),
        (["chair", "table"], [[1, 2]], "lacks `names` and `features`"),
        (["chair", "table"], [[1, 2], [0, 0]], "not finite or all zero"),
        (["chair", "table"], [[1, 2], [np.nan, 0]], "not finite or all zero"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path, names, features, reason):
    with pytest.raises(InputError, match=reason):
        read_class_features(_write(tmp_path / "a.npz", names, features), NAMES, "a set")


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "a.npz").write_text("names, features")
    with pytest.raises(InputError, match="lacks `names` and `features` of the classes of a set"):
        read_class_features(tmp_path / "a.npz", NAMES, "a set")
