"""Checkpoints are written beside the loop: from a copy, one at a time, and errors come back."""

import threading
import time

import pytest
import torch

from pointrecon.tools.checkpoints.writer import CheckpointWriter


def test_what_is_written_is_a_copy_of_the_moment():
    written, may_write = [], threading.Event()

    def write(content, names):
        may_write.wait(10)
        written.append((content["weights"]["a"].clone(), content["list"][0].tolist(), content["step"], tuple(names)))

    weights = torch.zeros(3)
    with CheckpointWriter(write) as writer:
        writer.submit({"weights": {"a": weights}, "list": [torch.ones(2, 2).T], "step": 1}, ["x"])
        weights += 5
        assert not written
        may_write.set()
        writer.submit({"weights": {"a": weights}, "list": [torch.ones(2, 2)], "step": 2}, ["y", "z"])
    first, second = written
    assert first[0].tolist() == [0, 0, 0] and first[1:] == ([[1, 1], [1, 1]], 1, ("x",))
    assert second[0].tolist() == [5, 5, 5] and second[2:] == (2, ("y", "z"))


def test_memory_is_that_of_one_copy():
    places = []
    with CheckpointWriter(lambda content, names: places.append(content["a"].data_ptr())) as writer:
        for _ in range(3):
            writer.submit({"a": torch.ones(1000)}, [])
    assert len(set(places)) == 1
    with CheckpointWriter(lambda content, names: places.append(content["a"].shape)) as writer:
        for size in (3, 5):
            writer.submit({"a": torch.ones(size)}, [])
    assert places[3:] == [(3,), (5,)]


def test_the_loop_goes_on_meanwhile_and_a_second_one_waits():
    may_write = threading.Event()
    with CheckpointWriter(lambda *_: may_write.wait(10)) as writer:
        start = time.monotonic()
        writer.submit({}, [])
        writer.check()  # not done yet: nothing happens
        assert time.monotonic() - start < 5
        threading.Timer(0.2, may_write.set).start()
        writer.submit({}, [])
        assert may_write.is_set() and time.monotonic() - start >= 0.15


def fail(content, names):
    raise ValueError(f"step {content['step']}")


def test_errors_come_back_at_the_next_look_and_at_the_end():
    with CheckpointWriter(fail) as writer:
        writer.submit({"step": 1}, [])
        with pytest.raises(ValueError, match="step 1"):
            while True:
                writer.check()
        writer.submit({"step": 2}, [])
        with pytest.raises(ValueError, match="step 2"):
            writer.submit({"step": 3}, [])
    with pytest.raises(ValueError, match="step 4"), CheckpointWriter(fail) as writer:
        writer.submit({"step": 4}, [])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("checkpoint")]


def test_the_first_error_is_the_one_that_is_told():
    with pytest.raises(KeyError), CheckpointWriter(fail) as writer:
        writer.submit({"step": 1}, [])
        raise KeyError
