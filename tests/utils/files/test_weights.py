"""Files of weights: what comes back, and what is refused."""

import pickle

import numpy as np
import pytest
import torch

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.weights import read_weights_file, write_safetensors


class Hostile:
    def __reduce__(self):
        return print, ("executed",)


def test_metrics_of_numpy_come_back_as_numbers(tmp_path):
    metrics = {"iou": np.float64(0.25), "epoch": np.int32(-7), "big": np.array(3, ">i4")[()], "best": np.bool_(True)}
    torch.save({"weights": torch.arange(3), **metrics}, tmp_path / "a.pth")
    content = read_weights_file(tmp_path / "a.pth")
    assert torch.equal(content.pop("weights"), torch.arange(3))
    assert content == {"iou": 0.25, "epoch": -7, "big": 3, "best": True}
    assert all(type(value) in (float, int, bool) for value in content.values())


@pytest.mark.parametrize(
    "value", [Hostile(), np.str_("text"), np.array([Hostile()], dtype=object), np.datetime64("nat")]
)
def test_nothing_else_is_read(tmp_path, value, capsys):
    torch.save({"value": value}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="a.pth"):
        read_weights_file(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(value))
    with pytest.raises(InputError, match="b.pth"):
        read_weights_file(tmp_path / "b.pth")
    assert "executed" not in capsys.readouterr().out


def test_safetensors_there_and_back(tmp_path):
    path, both = tmp_path / "a.safetensors", torch.randn(4, 3)
    state = {"whole": both, "view": both.T, "count": torch.tensor(3)}
    write_safetensors(state, {"config": {"model": {"depth": 2}}, "epoch": 5}, path)
    content = read_weights_file(path)
    assert content["config"] == {"model": {"depth": 2}} and content["epoch"] == 5
    assert content["base_model"].keys() == state.keys()
    assert all(torch.equal(content["base_model"][key], state[key]) for key in state)


def test_metadata_of_other_programs_is_kept_as_text(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", {"format": "pt", "note": "by hand"})
    assert read_weights_file(tmp_path / "a.safetensors")["note"] == "by hand"


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_damaged_files(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(InputError, match="does not exist"):
        read_weights_file(path)
    for content in (b"", b"half a file"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_weights_file(path)


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_safetensors({"a": torch.ones(1)}, {"config": object()}, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
