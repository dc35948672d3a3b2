"""Packed files: what goes in comes out, they are shared and small to send, and never out of date or half there."""

import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import torch

from pointrecon.datasets.packed import places
from pointrecon.datasets.packed.packed import Source, open_or_pack, open_packed
from pointrecon.extensions import ops
from pointrecon.utils.errors import InputError

CLOUDS = np.random.RandomState(0).randn(70, 16, 6).astype(np.float32)


def make_source(folder, bad=(), needs_fps=False, num_points=16, kind="dat", count=70):
    def load(row):
        if row in bad:
            raise InputError(f"'file {row}' cannot be read")
        return CLOUDS[row]

    if not (folder / "source.dat").exists():
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
    monkeypatch.setattr(places, "is_writable", lambda path: folder not in path.parents)
    made = []
    path = open_small(folder, made).clouds.path
    assert path.is_relative_to(tmp_path / "cache" / "recon") and not (folder / "packed").exists()
    open_small(folder, made)
    assert len(made) == 1


def pack_slowly(folder, started):
    """In a child process."""

    def wait(row):
        started.set()
        time.sleep(0.02)
        return CLOUDS[row]

    source = make_source(folder)
    source.load = wait
    open_or_pack(folder, "small_16.h5", ("dat",), lambda: source)


def start_slow_packing(folder):
    (folder / "source.dat").touch()
    context = multiprocessing.get_context("fork")
    started = context.Event()
    child = context.Process(target=pack_slowly, args=(folder, started))
    child.start()
    assert started.wait(30)
    return child


def test_of_two_processes_one_packs_and_the_other_waits(tmp_path, monkeypatch):
    child = start_slow_packing(tmp_path)
    monkeypatch.setattr("pointrecon.datasets.packed.packed.pack", None)  # nothing is packed here
    np.testing.assert_array_equal(open_small(tmp_path).clouds[3], CLOUDS[3, :, :3])
    child.join()
    assert child.exitcode == 0 and [path.name for path in (tmp_path / "packed").iterdir()] == ["small_16.h5"]


def test_a_process_that_stands_still_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    child = start_slow_packing(tmp_path)
    monkeypatch.setenv("RECON_TIMEOUT", "1")
    os.kill(child.pid, signal.SIGSTOP)
    try:
        with pytest.raises(InputError, match=f"small_16.h5' is in use by process {child.pid} .*RECON_TIMEOUT"):
            open_small(tmp_path)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.join()


def test_what_a_killed_process_has_left_is_removed(tmp_path):
    child = start_slow_packing(tmp_path)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    (left,) = (tmp_path / "packed").glob(".small_16.*.tmp.h5")
    other = left.with_name(".small_16.notes.tmp.h5")
    other.touch()
    open_small(tmp_path)
    assert not left.exists() and other.exists() and not list((tmp_path / "packed").glob("*.lock"))


def test_a_rewritten_file_in_a_folder_is_noticed(tmp_path):
    made = []
    folder = tmp_path / "class"
    folder.mkdir()
    files = [folder / f"{row}.txt" for row in range(3)]
    for file in files:
        file.write_text("1 2 3")

    def make():
        made.append(1)
        source = make_source(tmp_path)
        source.files = [folder]
        return source

    def open_again():
        open_or_pack(tmp_path, "small_16.h5", ("dat",), make)
        return len(made)

    assert open_again() == open_again() == 1
    state = folder.stat()
    files[1].write_text("4 5 6")
    os.utime(folder, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert open_again() == 2, "as long as before, and the folder's own time is the old one"
    shutil.rmtree(folder)
    assert open_again() == 2, "gone to save space"
    folder.mkdir()
    assert open_again() == 2, "the same"


def test_a_file_that_another_program_has_open_is_not_made_again(tmp_path, monkeypatch):
    open_small(tmp_path)
    monkeypatch.setattr("pointrecon.datasets.packed.packed.pack", None)
    code = "import h5py, sys; file = h5py.File(sys.argv[1], 'a', locking=True); print(flush=True); input()"
    command = [sys.executable, "-c", code, str(tmp_path / "packed" / "small_16.h5")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(InputError, match=r"small_16\.h5' is locked"):
            open_small(tmp_path)
        other.stdin.close()
    assert len(open_small(tmp_path).ids) == 70


def test_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pointrecon.datasets.packed.packed._write_clouds", fail)
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
