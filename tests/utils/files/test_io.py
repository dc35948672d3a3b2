"""Atomic writing, JSON and HDF5."""

import errno
import os

import h5py
import numpy as np
import pytest

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, check_file, open_hdf5, read_json, write_json


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
    with pytest.raises(InputError, match="a{300}' does not exist"):
        check_file(tmp_path / ("a" * 300), "checkpoint")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(InputError, match="checkpoint '.*' is no plain file but a pipe, socket or device; give"):
            check_file(path, "checkpoint")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_is_one_sentence(tmp_path, number):
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(InputError, match=f"cannot write '.*x.txt': {os.strerror(number).lower()}.*nothing there was"):
        with atomic_write(target) as temporary:
            temporary.write_text("half")
            try:
                raise OSError(number, "")
            except OSError:
                raise RuntimeError("torch's own") from None
    assert target.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_other_errors_of_the_system_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "x") as temporary:
        temporary.write_text("half")
        open(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    original = os.replace
    monkeypatch.setattr(os, "replace", lambda *names: calls.append("replace") or original(*names))
    with atomic_write(tmp_path / "x", is_durable=True) as temporary:
        temporary.write_text("new")
    assert calls == ["fsync", "replace"]


def test_a_file_system_without_fsync_is_no_error(tmp_path, monkeypatch):
    def fsync(_, number=errno.EINVAL):
        raise OSError(number, "")

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(tmp_path / "x", is_durable=True) as temporary:
        temporary.write_text("new")
    monkeypatch.setattr(os, "fsync", lambda _: fsync(_, errno.ENOSPC))
    with pytest.raises(InputError, match="no space left"), atomic_write(tmp_path / "x", is_durable=True) as temporary:
        temporary.write_text("newer")
    assert (tmp_path / "x").read_text() == "new" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_files_follow_the_umask_whoever_writes_them(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "x") as temporary:
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == mode
