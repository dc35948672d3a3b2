"""The program's exit codes, and that it can be called from anywhere."""

import importlib.util
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from pointrecon.tools.checkpoints.checkpoint import read_checkpoint
from pointrecon.tools.checkpoints.pretrained import load_pretrained
from tests import ROOT

PROGRAM = ROOT / "scripts" / "convert_checkpoint.py"
SOURCE = ROOT / "tests" / "fixtures" / "official_tiny" / "pretrain.pth"


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """run(*arguments) -> exit code, stdout, stderr; in this process, since torch takes seconds to load."""
    spec = importlib.util.spec_from_file_location("convert_checkpoint", PROGRAM)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", [PROGRAM.name, *map(str, arguments)])
        return program.exit_code(program.main), *capsys.readouterr()

    return call


def test_there_and_back(run, tmp_path):
    code, out, _ = run(SOURCE, "new/ours.safetensors", "--to", "safetensors")
    assert code == 0 and "ReCon pretraining" in out
    assert run("new/ours.safetensors", "back.pth", "--to", "published")[0] == 0
    back, source = (torch.load(path, weights_only=True)["base_model"] for path in (tmp_path / "back.pth", SOURCE))
    assert back.keys() == source.keys() and all(torch.equal(back[key], source[key]) for key in source)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([SOURCE, "old.pth"], "--overwrite"),
        ([SOURCE, "b.pth", "--to", "publisched"], "did you mean 'published'"),
        (["missing.pth", "b.pth"], "does not exist"),
        ([SOURCE], "OUT"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(run, tmp_path, arguments, message):
    (tmp_path / "old.pth").write_bytes(b"old")
    code, out, err = run(*arguments)
    assert code == 2 and not out and message in err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["old.pth"] and (tmp_path / "old.pth").read_bytes() == b"old"


def test_it_can_be_called_from_anywhere(tmp_path):
    program = [sys.executable, PROGRAM, SOURCE, "a.pth", "--overwrite"]
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "a.pth").is_file(), done.stderr


def test_half_precision_is_for_matrices_alone_and_loads(run, tmp_path):
    assert run(SOURCE, "half.safetensors", "--half")[0] == 0 and run(SOURCE, "full.safetensors")[0] == 0
    half, full = (load_file(tmp_path / f"{name}.safetensors") for name in ("half", "full"))
    for key, value in full.items():
        is_matrix = value.ndim > 1 and value.is_floating_point()
        assert half[key].dtype == (torch.float16 if is_matrix else value.dtype)
        torch.testing.assert_close(half[key].to(value.dtype), value, rtol=1e-3, atol=1e-6)
    network, _ = load_pretrained(tmp_path / "half.safetensors", num_heads=2)
    assert {value.dtype for value in network.state_dict().values() if value.is_floating_point()} == {torch.float32}


def test_what_was_seen_and_the_means_of_teachers_stay(run, tmp_path):
    content = torch.load(SOURCE, weights_only=True)
    seen, means = torch.arange(5), {"image": torch.rand(4), "text": torch.rand(3)}
    torch.save({**content, "seen_objects": seen, "feature_means": means, "class_names": ["a", "b"]}, "with.pth")
    assert run("with.pth", "a.safetensors")[0] == 0 and run("a.safetensors", "b.pth")[0] == 0
    for name in ("a.safetensors", "b.pth"):
        found = read_checkpoint(name)
        assert torch.equal(found["seen_objects"], seen) and found["class_names"] == ["a", "b"]
        assert all(torch.equal(found["feature_means"][key], value) for key, value in means.items())
        assert not [key for key in found["base_model"] if "seen" in key or "means" in key]
