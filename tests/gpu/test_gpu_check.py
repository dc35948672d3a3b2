"""The check of a GPU machine, as far as a machine without one can try it."""

import json
import sys
from pathlib import Path

import pytest
import torch

from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError
from tests import ROOT
from tests.gpu import gpu_check
from tests.gpu.gpu_check import PARTS, Step, check, make_steps, run_step


@pytest.mark.parametrize("part, first", [("recon", "tests_operations"), ("open", "train_reconpp_base")])
def test_every_step_fits_the_time(part, first):
    assert gpu_check.TOTAL_SECONDS < 480
    names = [step.name for step in make_steps(Path("out"), "cuda", part)]
    assert len(names) == len(set(names)) and names[0] == first


@pytest.mark.parametrize("part", PARTS)
def test_the_configs_and_overrides_of_the_steps_exist(part):
    for step in make_steps(Path("out"), "cuda", part):
        if "scripts/bench_train.py" not in step.command:
            continue
        words = list(step.command)
        config = words[words.index("--config") + 1]
        against = words[words.index("--against") + 1 :] if "--against" in words else []
        overrides = [word for word in words[words.index(config) + 1 :] if "=" in word and word not in against]
        load_config(config, overrides)
        load_config(config, [*overrides, *against])


@pytest.mark.parametrize("part", PARTS)
def test_the_files_of_the_steps_exist(part):
    for step in make_steps(Path("out"), "cuda", part):
        words = [word.removeprefix("--ignore=") for word in step.command]
        paths = [word for word in words if word.startswith(("tests/", "scripts/"))]
        assert paths or "tests" in words, step
        assert all((ROOT / path).exists() for path in paths), paths


def test_without_a_gpu_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no CUDA GPU"):
        check(tmp_path)


def test_a_step_keeps_its_figures_and_its_last_words(tmp_path):
    write = f"open({str(tmp_path / 'good.json')!r}, 'w').write('{json.dumps({'rate': 3})}')"
    result = run_step(Step("good", ("-c", f"{write}; print('well done')"), 30), tmp_path, 100)
    assert (result["state"], result["exit_code"], result["figures"]) == ("passed", 0, {"rate": 3})
    assert "well done" in result["output"]


@pytest.mark.parametrize("left", ['{"rate": 1}', "{"])
def test_figures_of_an_earlier_check_and_halves_are_not_a_steps_own(tmp_path, left):
    (tmp_path / "bad.json").write_text(left)
    assert run_step(Step("bad", ("-c", "raise SystemExit(3)"), 30), tmp_path, 100)["figures"] is None
    half = f"open({str(tmp_path / 'half.json')!r}, 'w').write('{{')"
    assert run_step(Step("half", ("-c", half), 30), tmp_path, 100)["figures"] is None


def test_a_step_that_fails_is_told(tmp_path):
    result = run_step(Step("bad", ("-c", "raise SystemExit(3)"), 30), tmp_path, 100)
    assert result["state"] == "failed with exit code 3"


def test_a_step_that_hangs_is_stopped_with_its_children(tmp_path):
    sleeper = f"['{sys.executable}', '-c', 'import time; time.sleep(60)']"
    child = f"import subprocess; subprocess.Popen({sleeper}).wait()"
    result = run_step(Step("hangs", ("-c", child), 1), tmp_path, 100)
    assert result["exit_code"] is None and result["state"] == "stopped after 1 s" and result["seconds"] < 20


def test_no_step_begins_without_time(tmp_path):
    assert run_step(Step("late", ("-c", "pass"), 30), tmp_path, 0.5)["state"].startswith("left out")


def test_one_bad_step_makes_the_whole_bad(monkeypatch, tmp_path):
    steps = [Step("one", ("-c", "raise SystemExit(1)"), 30), Step("two", ("-c", "pass"), 30)]
    monkeypatch.setattr(gpu_check, "make_steps", lambda folder, device, part: steps)
    lines, kept = [], []
    result = check(tmp_path, "cpu", lines.append, kept.append)
    assert [len(one["steps"]) for one in kept] == [1, 2] and kept[-1] == result and result["left_out"] == []
    assert not result["is_well"] and [step["state"] for step in result["steps"]][1] == "passed" and len(lines) == 2


def test_what_is_not_timed_runs_side_by_side_before_the_rest(monkeypatch, tmp_path):
    """Each of the two ends when the other has begun, and the timed one needs what both have left."""
    meet = "import pathlib, sys, time; own, other = map(pathlib.Path, sys.argv[1:]); own.touch()\n"
    meet += "while not other.exists(): time.sleep(0.05)"
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    steps = [
        Step("timed", ("-c", "import os, sys; sys.exit(not all(map(os.path.exists, sys.argv[1:])))", one, two), 30),
        Step("one", ("-c", meet, one, two), 30, is_timed=False),
        Step("two", ("-c", meet, two, one), 30, is_timed=False),
    ]
    monkeypatch.setattr(gpu_check, "make_steps", lambda folder, device, part: steps)
    result = check(tmp_path, "cpu")
    names = [step["name"] for step in result["steps"]]
    assert result["is_well"] and set(names[:2]) == {"one", "two"} and names[2] == "timed"


def test_what_no_time_is_left_for_is_named_and_is_no_failure(monkeypatch, tmp_path):
    steps = [Step("one", ("-c", "pass"), 30), Step("two", ("-c", "pass"), 30)]
    monkeypatch.setattr(gpu_check, "make_steps", lambda folder, device, part: steps)
    monkeypatch.setattr(gpu_check, "TOTAL_SECONDS", 0)
    result = check(tmp_path, "cpu")
    assert result["is_well"] and result["left_out"] == ["one", "two"]
