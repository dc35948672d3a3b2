"""Rows of HDF5 files: mapped or read at once, the same values either way."""

import pickle

import h5py
import numpy as np
import pytest

from pointrecon.datasets.packed.hdf5_points import HDF5Points
from pointrecon.utils.errors import InputError

VALUES = np.random.RandomState(0).randn(7, 5, 3).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "points.h5"


def write(path, userblock_size=0, values=VALUES, **storage):
    with h5py.File(path, "w", userblock_size=userblock_size) as file:
        file["label"] = np.arange(7)
        file.create_dataset("data", data=values, **storage)


@pytest.mark.parametrize(
    ("storage", "is_mapped"),
    [({}, True), ({"userblock_size": 512}, True), ({"compression": "gzip"}, False), ({"chunks": (1, 5, 3)}, False)],
)
def test_rows_are_those_of_the_file_however_it_stores_them(path, storage, is_mapped):
    write(path, **storage)
    points = HDF5Points(path)
    assert points.is_mapped is is_mapped and len(points) == 7 and points.shape == (7, 5, 3)
    np.testing.assert_array_equal(points[3], VALUES[3])
    np.testing.assert_array_equal(points[2:5], VALUES[2:5])
    np.testing.assert_array_equal(points[np.array([6, 0])], VALUES[[6, 0]])


def test_other_types_are_given_as_stored(path):
    write(path, values=VALUES.astype(">f8"))
    assert HDF5Points(path)[1].dtype == ">f8"
    np.testing.assert_array_equal(HDF5Points(path)[1], VALUES[1])


def test_rows_are_copies(path):
    write(path)
    points = HDF5Points(path)
    points[0][:] = 0
    np.testing.assert_array_equal(points[0], VALUES[0])


def test_another_process_gets_the_name_of_the_file_not_its_content(path):
    write(path, values=np.zeros((1000, 5, 3), dtype=np.float32))
    points = HDF5Points(path)
    points[0]
    data = pickle.dumps(points)
    assert len(data) < 2000
    assert not pickle.loads(data)[999].any()


def test_truncated_file_is_refused(path):
    write(path)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 100)
    with pytest.raises(InputError, match=r"points\.h5.*not a complete HDF5 file"):
        HDF5Points(path)


def test_damaged_chunk_is_refused(path):
    write(path, compression="gzip")
    with h5py.File(path) as file:
        chunk = file["data"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"points\.h5' .*is damaged"):
        HDF5Points(path)


def test_name_that_is_no_array_is_refused(path):
    write(path)
    with h5py.File(path, "a") as file:
        file.create_group("group")
        file["number"] = 3
    for name in ("group", "number"):
        with pytest.raises(InputError, match=f"points.h5' .*'{name}' is no array"):
            HDF5Points(path, name)
    with pytest.raises(InputError, match="lacks 'points'"):
        HDF5Points(path, "points")
