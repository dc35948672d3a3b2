"""Lists with every kind of line end, and clouds that no network should see."""

import logging

import numpy as np
import pytest

from pointrecon.datasets.checks import check_cloud, fault_of, is_usable, read_list, refuse_overlap, refuse_same_clouds
from pointrecon.utils.errors import InputError

GOOD = np.random.RandomState(0).randn(8, 6)


def changed(index, value):
    points = GOOD.copy()
    points[index] = value
    return points


@pytest.mark.parametrize(
    "data",
    [
        b"bed\nnight_stand\n",
        b"bed\r\nnight_stand",
        b"\xef\xbb\xbfbed\n\n\r\n  night_stand  \n\n",
        b"bed\rnight_stand",
        b"\xef\xbb\xbfbed \n\xef\xbb\xbfnight_stand\t\n",  # two files with a mark of the byte order, joined
        "\ufeffbed\r\nnight_stand\u00a0\r\n".encode("utf-16-le"),
        "\ufeffbed\nnight_stand".encode("utf-16-be"),
    ],
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


@pytest.mark.parametrize(
    ("values", "is_good"),
    [
        (GOOD[:, :3] + 1e5, False),  # a step of float32 is 1/128 there
        (GOOD[:, :3] * 1e-3 + 10.0, True),
        (GOOD[:, :3] * 1e3 + 1e6, True),
        (GOOD[:, :3] * 1e-44, False),
        ((GOOD[:, :3] * 10).astype(np.int64) + 5_000_001, True),
        ((GOOD[:, :3] * 10).astype(np.int64) + (1 << 40), False),
        ((GOOD[:, :3] + 1e5).astype(np.float32), True),  # what is lost was lost before
    ],
)
def test_a_cloud_that_float32_would_move_is_refused(values, is_good):
    if is_good:
        np.testing.assert_array_equal(check_cloud(values, "x", 8), values.astype(np.float32))
    else:
        with pytest.raises(InputError, match="x has coordinates so far from the origin.*subtract its centre"):
            check_cloud(values, "x", 8)


def test_overlap_is_counted_and_its_first_object_named():
    refuse_overlap(["a", "b"], ["c"], "Toys", "mend the lists")
    with pytest.raises(InputError, match="2 of the 3 test objects of Toys .* first 'd'.*; mend the lists"):
        refuse_overlap(["a", "b", "d"], ["c", "d", "b"], "Toys", "mend the lists")


def test_the_same_clouds_are_found_by_their_points(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("recon"), "propagate", True)
    clouds = np.random.RandomState(0).randn(300, 4, 3).astype(np.float32)
    refuse_same_clouds(clouds[:100], [*clouds[98:298], None], "x.h5", "get it again")
    assert "2 of the 201 test objects of x.h5 are training objects as well: ['object 0', 'object 1']" in caplog.text
    with pytest.raises(InputError, match="3 of the 200 test objects of x.h5 .* first 'object 0'"):
        refuse_same_clouds(clouds[:100], clouds[97:297], "x.h5", "get it again")
