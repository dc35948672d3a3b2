"""What env.json says."""

import json
import subprocess

import torch

from pointrecon.tools import environment


def test_it_is_json_and_has_what_repeats_a_run():
    described = environment.describe_environment(torch.device("cpu"), ["main.py", "--seed", "3"])
    assert json.loads(json.dumps(described)) == described
    assert described["command"] == ["main.py", "--seed", "3"] and described["device"] == "cpu"
    assert described["packages"]["numpy"] and described["cpu"] and described["cuda"] is None


def test_the_commit_and_whether_files_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert environment.git_commit() is None
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "x").write_text("1")
    for command in (["init", "-q"], ["add", "x"], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    clean = environment.git_commit()
    assert len(clean["commit"]) == 40 and clean["is_changed"] is False
    (tmp_path / "x").write_text("2")
    assert environment.git_commit() == {**clean, "is_changed": True}
