"""Atomic writing, JSON and HDF5."""

import h5py
import numpy as np
import pytest

from utils.errors import InputError
from utils.io import atomic_write, check_file, open_hdf5, read_json, write_json


def test_atomic_write_makes_folders_and_leaves_one_file(tmp_path):
    target = tmp_path / "a" / "b.npz"
    with atomic_write(target) as temporary:
        assert temporary.suffix == ".npz" and temporary.parent == target.parent
        np.savez(temporary, x=np.arange(3))
    assert [item.name for item in target.parent.iterdir()] == ["b.npz"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"), atomic_write(tmp_path / "file" / "x"):
        pass
    with pytest.raises(InputError, match="it is a folder"), atomic_write(tmp_path):
        pass


def test_json_round_trip_and_errors(tmp_path):
    write_json({"a": [1, None], "ü": "ß"}, tmp_path / "x.json")
    assert read_json(tmp_path / "x.json") == {"a": [1, None], "ü": "ß"}
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(tmp_path / "bad.json")
    with pytest.raises(InputError, match="does not exist"):
        read_json(tmp_path / "none.json")


@pytest.fixture
def hdf5(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["train/points"] = np.zeros((1000, 3))
    return path


def test_hdf5_opens(hdf5):
    with open_hdf5(hdf5, ["train", "train/points"]) as file:
        assert file["train/points"].shape == (1000, 3)


def test_hdf5_errors(hdf5):
    with pytest.raises(InputError, match="lacks 'test/points'; it holds: train"):
        open_hdf5(hdf5, ["train/points", "test/points"])
    hdf5.write_bytes(hdf5.read_bytes()[:-5000])
    with pytest.raises(InputError, match="not a complete HDF5 file"):
        open_hdf5(hdf5)
    hdf5.write_text("hello")
    with pytest.raises(InputError, match="5 bytes"):
        open_hdf5(hdf5)
    with pytest.raises(InputError, match="does not exist"):
        open_hdf5(hdf5.parent / "none.h5")


def test_check_file_tells_a_folder_from_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="checkpoint '.*' is a folder"):
        check_file(tmp_path, "checkpoint")
