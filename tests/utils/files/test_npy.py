"""Arrays of every layout come back; a file that claims what it does not have is refused."""

import numpy as np
import pytest

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.npy import read_npy

VALUES = np.random.RandomState(0).randn(4, 3)


@pytest.mark.parametrize("values", [VALUES, VALUES.T, VALUES.astype(">f4"), np.arange(3), np.array(2.5), VALUES[:0]])
def test_arrays_come_back(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    read = read_npy(tmp_path / "a.npy")
    assert read.dtype == values.dtype and read.shape == values.shape
    np.testing.assert_array_equal(read, values)


OTHERS = [np.array(["a"]), np.array([b"a"]), np.zeros(2, [("x", "f4")]), np.array("2020", "M8")]


@pytest.mark.parametrize("values", OTHERS)
def test_other_types_are_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match=r"a\.npy' cannot be read.*it holds"):
        read_npy(tmp_path / "a.npy")


def test_missing_truncated_and_longer_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.npy' cannot be read"):
        read_npy(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", VALUES)
    data = (tmp_path / "a.npy").read_bytes()
    for spoilt in (data[:-1], data + b"x", data[:50], b""):
        (tmp_path / "a.npy").write_bytes(spoilt)
        with pytest.raises(InputError, match=r"a\.npy' cannot be read"):
            read_npy(tmp_path / "a.npy")
