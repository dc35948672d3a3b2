"""The program's exit codes and its file."""

import importlib.util
import json

import pytest

from tests import ROOT


@pytest.fixture
def run(monkeypatch, capsys):
    """run(*arguments) -> exit code, stdout, stderr; in this process, since torch takes seconds to load."""
    spec = importlib.util.spec_from_file_location("fuzz_program", ROOT / "scripts" / "fuzz.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["fuzz.py", *map(str, arguments)])
        return program.exit_code(program.main), *capsys.readouterr()

    return call


def test_run(run, tmp_path):
    code, out, _ = run("--target", "config", "--count", 12, "--seed", 2, "--json", tmp_path / "a.json")
    result = json.loads((tmp_path / "a.json").read_text())
    assert code == 0 and "config" in out and result["cases"] == 12 and result["seed"] == 2
    assert result["environment"]["command"][:2] == ["python", "scripts/fuzz.py"]


def test_bad_input(run):
    code, _, err = run("--target", "moon")
    assert code == 2 and "--target is 'moon'" in err
