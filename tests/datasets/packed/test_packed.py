"""Packed files: what goes in comes out, they are shared and small to send, and never out of date or half there."""

import logging
import os
import pickle

import h5py
import numpy as np
import pytest
import torch

import pointrecon.datasets.packed
from pointrecon.datasets.packed.packed import Source, open_or_pack, open_packed, pack
from pointrecon.extensions import ops
from pointrecon.utils.errors import InputError

CLOUDS = np.random.RandomState(0).randn(70, 16, 6).astype(np.float32)


def make_source(folder, bad=(), needs_fps=False, num_points=16, kind="dat", count=70):
    def load(row):
        if row in bad:
            raise InputError(f"'file {row}' cannot be read")
        return CLOUDS[row]

    (folder / "source.dat").touch()
    return Source(
        kind=kind,
        ids=[f"id{row}" for row in range(count)],
        labels=[row % 3 for row in range(count)],
        class_names=["bed", "lamp", "night_stand"],
        load=load,
        describe=lambda row: f"object {row}",
        num_points=num_points,
        needs_fps=needs_fps,
        is_fps_ordered=needs_fps,
        files=[folder / "source.dat"],
    )


def open_small(folder, made=None, on_error="raise", kinds=("dat",), **options):
    """Opens the packed file of a folder, and notes in `made` when it had to be made."""

    def make():
        if made is not None:
            made.append(options)
        return make_source(folder, **options)

    return open_or_pack(folder, "small_16.h5", kinds, make, on_error)


def test_what_goes_in_comes_out(tmp_path):
    packed = open_small(tmp_path)
    assert (tmp_path / "packed" / "small_16.h5").is_file()
    for row in (0, 31, 32, 69):
        np.testing.assert_array_equal(packed.clouds[row], CLOUDS[row, :, :3])
    assert packed.clouds.shape == (70, 16, 3) and packed.clouds.is_mapped
    assert packed.labels.tolist() == [row % 3 for row in range(70)] and packed.labels.dtype == np.int64
    assert packed.ids[69] == "id69" and packed.class_names == ["bed", "lamp", "night_stand"]
    assert (packed.num_skipped, packed.is_fps_ordered, packed.kind) == (0, False, "dat")


def test_pickles_small_and_opens_again(tmp_path):
    clouds = open_small(tmp_path).clouds
    first = clouds[5]
    data = pickle.dumps(clouds)
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data)[5], first)
    first[:] = 0
    assert clouds[5].any(), "an item is a copy"


def test_farthest_points_come_first(tmp_path):
    packed = open_small(tmp_path, needs_fps=True, num_points=10)
    points = torch.from_numpy(CLOUDS[40:41, :, :3].copy())
    np.testing.assert_array_equal(packed.clouds[40], ops.gather(points, ops.fps(points, 10))[0].numpy())
    assert packed.is_fps_ordered and packed.clouds.shape == (70, 10, 3)


def test_is_made_once_and_again_when_the_source_changes(tmp_path):
    made = []
    open_small(tmp_path, made)
    open_small(tmp_path, made)
    assert len(made) == 1
    os.utime(tmp_path / "source.dat", ns=(1, 1))
    open_small(tmp_path, made)
    assert len(made) == 2
    (tmp_path / "source.dat").write_bytes(b"longer")
    os.utime(tmp_path / "source.dat", ns=(1, 1))
    open_small(tmp_path, made)
    assert len(made) == 3
    (tmp_path / "source.dat").unlink()
    open_small(tmp_path, made)
    assert len(made) == 3, "a source that was deleted to save space is not missed"


def test_file_of_another_source_is_not_taken(tmp_path):
    made = []
    open_small(tmp_path, made)
    assert open_small(tmp_path, made, kinds=("txt",), kind="txt").kind == "txt"
    assert open_small(tmp_path, made, kinds=("dat", "txt")).kind == "txt" and len(made) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:3000], lambda data: b"", lambda data: b"x" * 5000])
def test_damaged_file_is_made_again(tmp_path, damage):
    open_small(tmp_path)
    path = tmp_path / "packed" / "small_16.h5"
    path.write_bytes(damage(path.read_bytes()))
    assert len(open_small(tmp_path).ids) == 70


def test_other_hdf5_file_is_refused(tmp_path):
    open_small(tmp_path)
    path = tmp_path / "packed" / "small_16.h5"
    with h5py.File(path, "a") as file:
        del file["ids"]
        file["ids"] = [b"one"]
    with pytest.raises(InputError, match=r"small_16\.h5' is not a file of 'packed clouds 1'"):
        open_packed(path)


def test_unreadable_object_stops_packing_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="file 33"):
        open_small(tmp_path, bad=(33,))
    assert not list((tmp_path / "packed").iterdir())


def test_skipped_objects_are_left_out_and_counted(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("recon"), "propagate", True)
    caplog.set_level(logging.WARNING, logger="recon")
    bad = {0, 33, *range(64, 70)}
    packed = open_small(tmp_path, on_error="skip", bad=bad)
    kept = [row for row in range(70) if row not in bad]
    assert packed.num_skipped == len(bad) and packed.ids == [f"id{row}" for row in kept]
    assert packed.clouds.shape == (len(kept), 16, 3) and packed.labels.tolist() == [row % 3 for row in kept]
    for place in (0, 31, 32, len(kept) - 1):
        np.testing.assert_array_equal(packed.clouds[place], CLOUDS[kept[place], :, :3])
    assert "'file 33' cannot be read" in caplog.text
    caplog.clear()
    made = []
    open_small(tmp_path, made, on_error="skip")
    assert not made and "lacks 8 objects" in caplog.text
    assert open_small(tmp_path, made).num_skipped == 0 and made, "who does not skip gets the whole"


def test_nothing_readable_is_an_error_even_when_skipping(tmp_path):
    with pytest.raises(InputError, match="none of the 70 objects"):
        open_small(tmp_path, on_error="skip", bad=range(70))
    assert not list((tmp_path / "packed").iterdir())


@pytest.mark.parametrize(("num_points", "needs_fps", "wanted"), [(15, False, "15"), (17, True, "at least 17")])
def test_wrong_number_of_points_is_refused(tmp_path, num_points, needs_fps, wanted):
    with pytest.raises(InputError, match=f"object 0 has 16 points, but must have {wanted}"):
        open_small(tmp_path, num_points=num_points, needs_fps=needs_fps)


def test_read_only_folder_is_packed_in_the_users_cache(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pointrecon.datasets.packed, "writable_path", lambda paths: paths[-1])
    made = []
    path = open_small(folder, made).clouds.path
    assert path.is_relative_to(tmp_path / "cache" / "recon") and not (folder / "packed").exists()
    open_small(folder, made)
    assert len(made) == 1


def test_two_processes_at_once_do_not_disturb_each_other(tmp_path):
    """The second one finishes while the first one already reads."""
    first = open_small(tmp_path)
    before = first.clouds[3]
    pack(first.clouds.path, make_source(tmp_path), tmp_path)
    np.testing.assert_array_equal(first.clouds[3], before)
    np.testing.assert_array_equal(open_small(tmp_path).clouds[3], before)


def test_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pointrecon.datasets.packed, "_write_clouds", fail)
    with pytest.raises(InputError, match=r"cannot write .*small_16\.h5'; is the disk full\?"):
        open_small(tmp_path)
    assert not list((tmp_path / "packed").iterdir())


@pytest.mark.parametrize(
    "edit",
    [
        lambda file: file.attrs.__setitem__("files", '[["a"]]'),
        lambda file: file.attrs.__setitem__("files", '[["\\u0000", 1, 2]]'),
        lambda file: file.attrs.__setitem__("format", [1, 2]),
        lambda file: file["labels"].__setitem__(0, 99),
        lambda file: file["labels"].__setitem__(0, -1),
        lambda file: (file.pop("points"), file.create_dataset("points", data=np.ones((70, 16, 3), "f8"))),
        lambda file: (file.pop("ids"), file.create_dataset("ids", data=np.arange(70))),
    ],
)
def test_damaged_copy_is_refused_and_made_again(tmp_path, edit):
    path = open_small(tmp_path).clouds.path
    with h5py.File(path, "a") as file:
        edit(file)
    with pytest.raises(InputError, match=r"small_16\.h5"):
        open_packed(path)
    made = []
    assert len(open_small(tmp_path, made).ids) == 70 and made


def test_damaged_object_is_named_when_it_is_read(tmp_path):
    packed = open_small(tmp_path)
    with h5py.File(packed.clouds.path, "a") as file:
        file["points"][3, 2, 1] = np.nan
    packed = open_packed(packed.clouds.path)
    assert packed.read(2).shape == (16, 3)
    with pytest.raises(InputError, match=r"object '.*' in '.*small_16\.h5' is damaged; remove the file"):
        packed.read(3)
