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
    assert code == 0 and "config" in out and result["cases"] == 12
    assert (
        code == 0 and result["runs"][0] | {"target": "config", "seed": 2, "first": 0, "cases": 12} == result["runs"][0]
    )
    assert result["environment"]["command"][:3] == ["python", "-m", "tests.fuzzing"]


def test_runs_add_up_and_no_case_counts_twice(run, tmp_path):
    for start in (0, 4):
        code, _, _ = run("--target", "config,packages", "--count", 4, "--start", start, "--json", tmp_path / "a.json")
        assert code == 0
    result = json.loads((tmp_path / "a.json").read_text())
    config = result["targets"]["config"]
    assert result["cases"] == 16 and len(result["runs"]) == 4 and config["cases"] == 8
    assert sum(sum(counts.values()) for counts in config["forms"].values()) == config["refused"] + config["read"] == 8
    code, _, err = run("--target", "config", "--count", 2, "--start", 7, "--json", tmp_path / "a.json")
    assert code == 2 and "--start 8" in err


def test_bad_input(run):
    code, _, err = run("--target", "moon")
    assert code == 2 and "--target is 'moon'" in err
