"""Checkpoints: what is refused, what is reported, what survives."""

import pickle

import pytest
import torch
from torch import nn

from models.classifier import PointClassifier
from models.encoder import PointEncoder
from tools.checkpoint import load_weights, read_checkpoint, save_checkpoint
from utils.errors import InputError


def make(width=24, depth=2, head="linear"):
    return PointClassifier(PointEncoder(width, depth, 2, 8, 4), 3, head)


@pytest.fixture
def saved(tmp_path):
    model = make()
    save_checkpoint({"base_model": model.state_dict(), "epoch": 1}, tmp_path / "a.pth")
    return model, tmp_path / "a.pth"


def test_round_trip(saved):
    model, path = saved
    other = make()
    report = load_weights(other, path)
    assert report.num_loaded == len(model.state_dict()) and not report.initial and not report.ignored
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())
    assert read_checkpoint(path)["version"] == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make(width=32), r"another size.*\(24,\).*\(32,\).*model\.\*"),
        (make(depth=3), r"lacks encoder \(23\).*model\.depth"),
        (make(depth=1), r"23 encoder tensors more.*model\.depth"),
        (make(head="mlp3"), "another size"),
    ],
)
def test_another_size_is_refused_and_nothing_is_changed(saved, other, message):
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_weights(other, saved[1])
    assert all(torch.equal(before[key], value) for key, value in other.state_dict().items())


def test_a_missing_head_is_allowed_only_where_it_is_said(saved, tmp_path):
    state = {key: value for key, value in saved[0].state_dict().items() if not key.startswith("head.")}
    save_checkpoint({"base_model": state}, tmp_path / "b.pth")
    with pytest.raises(InputError, match=r"head \(2\)"):
        load_weights(make(), tmp_path / "b.pth")
    report = load_weights(make(), tmp_path / "b.pth", may_lack=("head.",))
    assert "random at the start: head (2)" in str(report)


class Hostile:
    def __reduce__(self):
        return print, ("executed",)


def test_damaged_hostile_and_foreign_files_are_refused(saved, tmp_path, capsys):
    path = tmp_path / "bad.pth"
    with pytest.raises(InputError, match="does not exist"):
        read_checkpoint(path)
    path.write_bytes(saved[1].read_bytes()[:-2000])
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(path)
    torch.save({"base_model": {}, "extra": Hostile()}, path)
    with pytest.raises(InputError, match="objects other than tensors"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(InputError):
        read_checkpoint(path)
    assert "executed" not in capsys.readouterr().out
    for content in (torch.zeros(3), {"state": {}}, {"base_model": {"a": 1}}):
        torch.save(content, path)
        with pytest.raises(InputError, match="no weights"):
            read_checkpoint(path)


def test_a_failed_write_leaves_the_old_file(saved, monkeypatch):
    before = saved[1].read_bytes()

    def save(content, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint({"base_model": {}}, saved[1])
    assert saved[1].read_bytes() == before
    assert [path.name for path in saved[1].parent.iterdir()] == [saved[1].name]


def test_prefix_of_data_parallel_is_removed(saved, tmp_path):
    state = {f"module.{key}": value for key, value in saved[0].state_dict().items()}
    save_checkpoint({"base_model": state}, tmp_path / "b.pth")
    assert load_weights(make(), tmp_path / "b.pth").num_loaded == len(state)
    assert isinstance(make(), nn.Module)
