"""Tests of tools/api/shapes.py: what users hand in, read some files after the other, each with a time limit."""

import os
import time

import numpy as np
import pytest

from pointrecon import shapes
from pointrecon.shapes import NoShapes, read_files, read_parts, to_clouds
from pointrecon.utils.processes.pool import Failure


@pytest.fixture
def folder(tmp_path):
    for row in range(5):
        np.save(tmp_path / f"{row}.npy", np.random.RandomState(row).randn(40, 3))
    return tmp_path


def sleep(task):
    """Reads a file that takes `task[1]` seconds."""
    time.sleep(task[1])
    return "read"


def test_a_reader_that_hangs_is_ended_also_with_one_process(monkeypatch):
    monkeypatch.setattr(shapes, "TIME_LIMIT", 2.0)
    found = dict(read_files(sleep, [("a", 0), ("b", 600), ("c", 0)], 1))
    assert found["a"] == found["c"] == "read"
    assert isinstance(found["b"], Failure) and found["b"].cause == "time limit"


@pytest.mark.parametrize("jobs", [0, 1, 2])
def test_processes_do_not_change_what_is_read(folder, jobs):
    (folder / "5.npy").write_bytes(b"no array")
    clouds = to_clouds(folder, num_points=16, jobs=jobs)
    wanted = to_clouds([np.load(folder / f"{row}.npy") for row in range(5)], num_points=16)
    assert [id.rsplit("/", 1)[-1] for id in clouds.ids] == [f"{row}.npy" for row in range(5)]
    np.testing.assert_array_equal(clouds.points, wanted.points)
    assert len(clouds.skipped) == 1


@pytest.mark.parametrize("up", ["z", "auto"])
def test_many_files_are_read_some_after_the_other(folder, monkeypatch, up):
    for row in (2, 3):  # a whole part
        (folder / f"{row}.npy").write_bytes(b"no array")
    whole = to_clouds(folder, num_points=16, up=up, jobs=0)
    monkeypatch.setattr(shapes, "FILES_AT_ONCE", 2)
    parts = list(read_parts(folder, num_points=16, up=up, jobs=0))
    assert [len(part.ids) for part in parts] == [2, 1]
    assert [id for part in parts for id in part.ids] == whole.ids
    np.testing.assert_array_equal(np.concatenate([part.points for part in parts]), whole.points)
    assert {name: why for part in parts for name, why in part.skipped.items()} == whole.skipped


@pytest.mark.parametrize("jobs", [0, 1])
def test_a_pipe_is_skipped_as_what_cannot_be_read(folder, monkeypatch, jobs):
    monkeypatch.setattr(shapes, "TIME_LIMIT", 5.0)
    os.mkfifo(folder / "5.npy")
    clouds = to_clouds(folder, num_points=16, jobs=jobs)
    assert len(clouds.ids) == 5 and "is no plain file" in clouds.skipped[str(folder / "5.npy")]
    with pytest.raises(NoShapes, match="5.npy' is no plain file"):
        to_clouds(folder / "5.npy", num_points=16, jobs=jobs)


def test_what_the_last_files_say_is_kept(folder, monkeypatch):
    (folder / "4.npy").write_bytes(b"no array")
    monkeypatch.setattr(shapes, "FILES_AT_ONCE", 2)
    parts = list(read_parts(folder, num_points=16, jobs=0))
    assert [len(part.points) for part in parts] == [2, 2, 0] and len(parts[-1].skipped) == 1
    for row in range(4):
        (folder / f"{row}.npy").write_bytes(b"no array")
    with pytest.raises(NoShapes) as caught:
        list(read_parts(folder, num_points=16, jobs=0))
    assert len(caught.value.skipped) == 5
