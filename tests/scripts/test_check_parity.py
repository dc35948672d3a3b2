"""The program's exit codes, and what it prints."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests import ROOT

FIXTURE = ROOT / "tests" / "fixtures" / "official_tiny"


@pytest.fixture
def run(monkeypatch, capsys):
    """run(*arguments) -> exit code, stdout, stderr; in this process, since torch takes seconds to load."""
    spec = importlib.util.spec_from_file_location("check_parity", ROOT / "scripts" / "check_parity.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["check_parity.py", *map(str, arguments)])
        return program.exit_code(program.main), *capsys.readouterr()

    return call


def test_all_within_tolerance(run):
    code, out, _ = run(FIXTURE)
    assert code == 0 and "130 of 130 within tolerance" in out and "float64" in out
    lines = [line for line in out.splitlines() if line.startswith("out.train.loss.smc")]
    assert len(lines) == 1 and "tolerance 1e-05" in lines[0] and lines[0].endswith("ok")


def test_one_wrong_number(run, tmp_path):
    folder = Path(shutil.copytree(FIXTURE, tmp_path / "fixture"))
    with np.load(folder / "expected.npz") as file:
        arrays = dict(file)
    arrays["out.cls.full"][2, 3] += 0.001
    np.savez(folder / "expected.npz", **arrays)
    code, out, _ = run(folder)
    assert code == 1 and "129 of 130 within tolerance" in out
    assert out.splitlines()[-1].startswith("out.cls.full") and "OUT OF TOLERANCE" in out


def test_a_missing_file(run, tmp_path):
    folder = Path(shutil.copytree(FIXTURE, tmp_path / "fixture"))
    (folder / "cls_linear.pth").unlink()
    code, out, err = run(folder)
    assert code == 2 and not out and "cls_linear.pth" in err


@pytest.mark.parametrize(("arguments", "message"), [(["nowhere"], "config.json"), ([], "FOLDER"), (["a", "b"], "b")])
def test_bad_input_is_one_sentence(run, arguments, message):
    code, out, err = run(*arguments)
    assert code == 2 and not out and message in err
    assert err.startswith("error: ") and err.count("\n") == 1
