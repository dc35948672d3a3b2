"""The command: exit codes and its file."""

import json

import pytest

from pointrecon.utils.program import exit_code
from tests.fuzzing import __main__ as program


@pytest.fixture
def run(monkeypatch, capsys):
    """run(*arguments) -> exit code, stdout, stderr; in this process, since torch takes seconds to load."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["fuzzing", *map(str, arguments)])
        return exit_code(program.main), *capsys.readouterr()

    return call


def test_run(run, tmp_path):
    code, out, _ = run("--target", "config", "--count", 12, "--seed", 2, "--json", tmp_path / "a.json")
    result = json.loads((tmp_path / "a.json").read_text())
    assert code == 0 and "config" in out and result["cases"] == 12 and result["seed"] == 2
    assert result["environment"]["command"][:3] == ["python", "-m", "tests.fuzzing"]


def test_bad_input(run):
    code, _, err = run("--target", "moon")
    assert code == 2 and "--target is 'moon'" in err
