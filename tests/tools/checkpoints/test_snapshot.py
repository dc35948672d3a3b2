"""What a run goes on from: the last checkpoint, or the one before; with the same config, or not at all."""

import errno
import logging
import os
import signal

import pytest
import torch

from pointrecon.tools.checkpoints import snapshot
from pointrecon.utils.errors import InputError

LOGGER = logging.getLogger("test")


def content(step):
    return {"base_model": {"encoder.norm.weight": torch.full((2,), float(step))}, "step": step}


def test_the_one_before_is_kept_and_used_if_the_last_is_damaged(tmp_path, caplog):
    for step in (1, 2, 3):
        snapshot.save_last(content(step), tmp_path)
    assert snapshot.read_last(tmp_path, LOGGER)["step"] == 3
    last = tmp_path / snapshot.LAST
    last.write_bytes(last.read_bytes()[:200])
    assert snapshot.read_last(tmp_path, LOGGER)["step"] == 2
    assert "ckpt-last.pth" in caplog.text and "going on from" in caplog.text
    last.unlink()  # killed between the two renamings
    assert snapshot.read_last(tmp_path, LOGGER)["step"] == 2
    (tmp_path / snapshot.PREVIOUS).write_bytes(b"")
    with pytest.raises(InputError):
        snapshot.read_last(tmp_path, LOGGER)


def test_a_failed_save_leaves_the_last_two(tmp_path, monkeypatch):
    for step in (1, 2):
        snapshot.save_last(content(step), tmp_path)

    def fail(*_):
        raise OSError("broken")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="broken"):
        snapshot.save_last(content(3), tmp_path)
    assert snapshot.read_last(tmp_path, LOGGER)["step"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [snapshot.LAST, snapshot.PREVIOUS]


def test_a_file_system_without_second_names(tmp_path, monkeypatch):
    def link(*_):
        raise OSError(errno.EPERM, "")

    monkeypatch.setattr(os, "link", link)
    for step in (1, 2, 3):
        snapshot.save_last(content(step), tmp_path)
    steps = {name: torch.load(tmp_path / name)["step"] for name in (snapshot.LAST, snapshot.PREVIOUS)}
    assert steps == {snapshot.LAST: 3, snapshot.PREVIOUS: 2} and len(list(tmp_path.iterdir())) == 2


def kill_in(call, number):
    """Kills this process with SIGKILL just before the given call of a function of `os`."""
    original, calls = getattr(os, call), iter(range(1, 99))

    def replacement(*arguments, **options):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(os, call, replacement)


POINTS = [("fsync", 1), ("link", 1), ("replace", 1), ("replace", 2)]


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("call, number", POINTS, ids=str)
def test_killed_anywhere_in_a_save_a_whole_checkpoint_is_left(tmp_path, call, number, has_links):
    if not has_links and call == "link":
        pytest.skip("nothing is linked")
    for step in (1, 2):
        snapshot.save_last(content(step), tmp_path)
    child = os.fork()
    if not child:
        if not has_links:
            os.link = lambda *_: (_ for _ in ()).throw(OSError())
        kill_in(call, number)
        snapshot.save_last(content(3), tmp_path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert snapshot.read_last(tmp_path, LOGGER)["step"] == 2
    # The next save is whole again, whatever was left behind.
    for step in (4, 5):
        snapshot.save_last(content(step), tmp_path)
    steps = {name: torch.load(tmp_path / name)["step"] for name in (snapshot.LAST, snapshot.PREVIOUS)}
    assert steps == {snapshot.LAST: 5, snapshot.PREVIOUS: 4}


def test_another_config_is_named_and_refused(caplog):
    saved = {"epochs": 3, "device": "cpu", "optim": {"lr": 1e-3}, "resume_changed": False}
    snapshot.check_config(saved, saved, LOGGER)
    snapshot.check_config(saved, {**saved, "device": "cuda", "num_workers": 2}, LOGGER)
    snapshot.check_config(saved, {**saved, "accum_steps": 1}, LOGGER)  # not there yet when it was written: the default
    with pytest.raises(InputError, match="accum_steps was 1 and is 2"):
        snapshot.check_config(saved, {**saved, "accum_steps": 2}, LOGGER)
    changed = {**saved, "epochs": 5, "optim": {"lr": 2e-3}}
    with pytest.raises(InputError, match=r"epochs was 3 and is 5, optim.lr was 0.001 and is 0.002; .*resume_changed"):
        snapshot.check_config(saved, changed, LOGGER)
    with caplog.at_level(logging.INFO):
        snapshot.check_config(saved, {**changed, "resume_changed": True}, LOGGER)
    assert "resume: epochs was 3 and is 5" in caplog.text
