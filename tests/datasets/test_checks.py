"""Lists with every kind of line end, and clouds that no network should see."""

import numpy as np
import pytest

from pointrecon.datasets.checks import check_cloud, fault_of, is_usable, read_list
from pointrecon.utils.errors import InputError

GOOD = np.random.RandomState(0).randn(8, 6)


def changed(index, value):
    points = GOOD.copy()
    points[index] = value
    return points


@pytest.mark.parametrize(
    "data",
    [b"bed\nnight_stand\n", b"bed\r\nnight_stand", b"\xef\xbb\xbfbed\n\n\r\n  night_stand  \n\n", b"bed\rnight_stand"],
)
def test_list_is_read_whole(tmp_path, data):
    (tmp_path / "list.txt").write_bytes(data)
    assert read_list(tmp_path / "list.txt", "restore it") == ["bed", "night_stand"]


@pytest.mark.parametrize(
    ("data", "message"), [(None, "cannot be read"), (b" \n\n", "is empty"), (b"\xff\xfe\x00", "is not a text file")]
)
def test_bad_list_is_refused(tmp_path, data, message):
    if data is not None:
        (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(InputError, match=rf"list\.txt' {message}.*restore it"):
        read_list(tmp_path / "list.txt", "restore it")


def test_cloud_is_coordinates_without_normals():
    points = check_cloud(GOOD, "'a.npy'", 8)
    assert points.dtype == np.float32 and points.flags.c_contiguous
    np.testing.assert_array_equal(points, GOOD[:, :3].astype(np.float32))
    assert check_cloud(GOOD, "'a.npy'", 5, may_have_more=True).shape == (8, 3)
    assert check_cloud(changed((0, 5), np.nan), "'a.npy'", 8).shape == (8, 3), "a bad normal does not matter"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (GOOD[:7], "has 7 points, but must have 8"),
        (np.tile(GOOD, (2, 1)), "has 16 points, but must have 8"),
        (GOOD[:, :4], r"shape \(8, 4\)"),
        (GOOD[None], r"shape \(1, 8, 6\)"),
        (np.array(["x"]), "must hold numbers"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        ([[1.0, 2.0, 3.0], [1.0]], "no array"),
        (changed((2, 1), np.nan), "NaN or infinite"),
        (changed((2, 1), np.inf), "NaN or infinite"),
        (changed((2, 1), 1e300), "NaN or infinite"),
        (changed((2, 1), 1e16), "coordinates beyond 1e"),
        (changed((2, 1), 7e4).astype(np.float16), "NaN or infinite"),
        ([[[1.0, 2.0, 3.0]]] * 8, "no array but list"),
        ([[10**400, 0, 0]] * 8, "object values"),
        (np.ones((8, 3)), "in one place"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_bad_cloud_is_refused(values, message):
    with pytest.raises(InputError, match=rf"'a\.npy' .*{message}"):
        check_cloud(values, "'a.npy'", 8)
    with pytest.raises(InputError, match="must have at least 9"):
        check_cloud(GOOD, "'a.npy'", 9, may_have_more=True)


def test_usable_objects():
    points = np.stack([GOOD, GOOD * np.nan, GOOD * np.inf, GOOD * 1e20, GOOD * 1e14])
    assert is_usable(points).tolist() == [True, False, False, False, True]
    assert fault_of(points[1]) == "NaN or infinite coordinates" and fault_of(points[3]) == "coordinates beyond 1e+15"


def test_rows_of_a_list_are_a_cloud():
    np.testing.assert_array_equal(check_cloud(GOOD.tolist(), "'a'", 8), GOOD[:, :3].astype(np.float32))
    assert check_cloud(list(GOOD), "'a'", 8).shape == (8, 3)
