"""The entry point, as a user meets it."""

import subprocess
import sys

import pytest

import main as entry
from pointrecon.utils.errors import InputError
from tests import ROOT


def call(*argv):
    return subprocess.run([sys.executable, "main.py", *argv], cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_help_answers_at_once():
    """Seconds depend on what else the machine does; what is imported does not."""
    code = "import atexit, sys, main; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main.main()"
    command = [sys.executable, "-c", code, "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0 and "--ckpts" in result.stdout
    loaded = {name.split(".")[0] for name in result.stderr.split()}
    assert "argparse" in loaded
    assert not loaded & {"torch", "numpy", "yaml", "easydict", "h5py", "sklearn", "matplotlib", "timm"}


def test_the_compiler_is_not_imported_before_something_is_compiled():
    """It takes as long as the rest of torch. One process imports one after the other."""
    modules = ["pointrecon.encoders", "pointrecon.tools.predict.command", "pointrecon.tools.training.runner"]
    seeding = "from pointrecon.utils.seed import seed_everything; seed_everything(0)"
    code = "\n".join(["import sys", seeding, *(f"import {name}; print(*sys.modules)" for name in modules)])
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True
    )
    loaded = [set(line.split()) for line in result.stdout.splitlines()]
    for name, found in zip(modules, loaded, strict=True):
        assert {"torch", name} <= found
        assert not {"torch._dynamo", "torch._inductor", "triton"} & found, name


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--config", "cfgs/_base_/run.yaml", "--ckpt", "x"], "unknown flag '--ckpt'; did you mean '--ckpts'?"),
        (["--config", "cfgs/_base_/rum.yaml"], "did you mean 'cfgs/_base_/run.yaml'?"),
        (["--config", "cfgs/_base_/run.yaml", "model.dept=3"], "did you mean 'model.depth'?"),
        ([], "--config is missing"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(argv, message):
    result = call(*argv)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    "error, code, text",
    [(InputError("a\nb"), 2, "error: a b\n"), (KeyboardInterrupt(), 130, "interrupted\n"), (None, 0, "")],
)
def test_exit_codes(monkeypatch, capsys, error, code, text):
    def run(argv):
        if error:
            raise error

    monkeypatch.setattr(entry, "run", run)
    assert entry.main() == code
    assert capsys.readouterr().err == text


def test_missing_data_sets_are_told_and_no_error(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["main.py", "--check-data", f"data_root={tmp_path}"])
    assert entry.main() == 0
    assert "ScanObjectNN" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["main.py", "--check-data", f"data_root={tmp_path / 'nowhere'}"])
    assert entry.main() == 2
    assert "no folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_our_own_mistakes_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(entry, "run", lambda argv: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        entry.main()
