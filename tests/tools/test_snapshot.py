"""What a run goes on from: the last checkpoint, or the one before; with the same config, or not at all."""

import logging

import pytest
import torch

from tools import snapshot
from utils.errors import InputError

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
    snapshot.save_last(content(1), tmp_path)

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space"):
        snapshot.save_last(content(2), tmp_path)
    assert snapshot.read_last(tmp_path, LOGGER)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == [snapshot.PREVIOUS]


def test_another_config_is_named_and_refused(caplog):
    saved = {"epochs": 3, "device": "cpu", "optim": {"lr": 1e-3}, "resume_changed": False}
    snapshot.check_config(saved, saved, LOGGER)
    snapshot.check_config(saved, {**saved, "device": "cuda", "num_workers": 2}, LOGGER)
    changed = {**saved, "epochs": 5, "optim": {"lr": 2e-3}}
    with pytest.raises(InputError, match=r"epochs was 3 and is 5, optim.lr was 0.001 and is 0.002; .*resume_changed"):
        snapshot.check_config(saved, changed, LOGGER)
    with caplog.at_level(logging.INFO):
        snapshot.check_config(saved, {**changed, "resume_changed": True}, LOGGER)
    assert "resume: epochs was 3 and is 5" in caplog.text
