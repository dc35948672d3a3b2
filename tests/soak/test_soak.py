"""Runs that are really killed, in forked children: as `scripts/soak.sh` does it, a few of each."""

import json
import logging
import os
import random
import re
import signal

import pytest
import torch

from pointrecon.utils.errors import InputError
from tests import ROOT
from tests.programs import call_module
from tests.soak import restarts, soak
from tests.soak.runs import TINY, ForkedRun, digest
from tests.soak.soak import VARIANTS, Soak


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A `Soak` over miniatures: make(runs=2)."""
    monkeypatch.chdir(ROOT)
    return lambda **counts: Soak(counts, 60.0, 0, tmp_path, logging.getLogger("test"))


def test_killed_saves_leave_a_whole_checkpoint(make):
    assert make(saves=4).killed_saves() == {"saves": 4, "loadable": 4, "failures": []}


def test_a_save_that_is_not_whole_is_found(make, monkeypatch):
    def save(content, folder):
        torch.save({**content, "step": -1}, folder / soak.LAST)

    monkeypatch.setattr(soak, "save_last", save)
    report = make(saves=2).killed_saves()
    assert report["saves"] == 2 and len(report["failures"]) == 2


def test_a_killed_run_goes_on_to_the_same_bits(make, monkeypatch):
    monkeypatch.setattr(soak, "VARIANTS", VARIANTS[2:3])
    report = make(runs=1).killed_runs()
    assert report["identical"] == 1 and report["kills"] > 0 and not report["failures"]


@pytest.mark.slow
def test_other_bits_are_found(make, monkeypatch):
    monkeypatch.setattr(soak, "VARIANTS", VARIANTS[2:3])
    monkeypatch.setattr(soak, "digest", lambda folder: folder.name)
    assert "other bits" in make(runs=1).killed_runs()["failures"][0]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(VARIANTS)))
def test_each_kind_of_run_goes_on_to_the_same_bits(make, monkeypatch, number):
    monkeypatch.setattr(soak, "VARIANTS", VARIANTS[number : number + 1])
    report = make(runs=3).killed_runs()
    assert report["identical"] == report["runs"] == 3, report["failures"]


@pytest.mark.slow
def test_memory_stays_flat(make):
    report = make(steps=1500).memory()
    assert not report["failures"], report


@pytest.mark.parametrize("num_threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_deterministic_runs_repeat_bit_by_bit(tmp_path, monkeypatch, num_threads):
    monkeypatch.chdir(ROOT)
    config = ["--config", "cfgs/quickstart/pretrain.yaml", *TINY, "epochs=1", "data.augment.jitter=0.01"]
    folders = []
    for name in ("a", "b"):
        options = ["--deterministic", "--exp_name", name, f"output_root={tmp_path}"]
        run = ForkedRun([*config, *options], tmp_path / "log", prepare=lambda: torch.set_num_threads(num_threads))
        assert run.wait() == 0, (tmp_path / "log").read_text()
        folders.append(tmp_path / "pretrain" / "quickstart" / name)
    assert digest(folders[0]) == digest(folders[1])


def test_a_process_that_is_left_is_found_and_ended(tmp_path):
    def prepare():
        if not os.fork():
            signal.pause()
        os._exit(0)

    child = ForkedRun([], tmp_path / "log", prepare=prepare)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, what it started has not
    assert child.has_left_processes(0.1)
    assert child.wait() == 0 and not child.has_left_processes()


def test_the_program_says_which_parts_there_are():
    done = call_module("tests.soak", "--parts", "x")
    assert done.returncode == 2 and "invalid choice: 'x'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("steps", "has_result", "problem"),
    [
        ([(1, 12), (2, 24), (3, 36)], True, None),
        ([(1, 12), (2, 24), (3, 36)], False, "there is no result.json"),
        ([(1, 12), (2, 24)], True, r"epochs and steps are \[\(1, 12\), \(2, 24\)\]"),
        ([(1, 12), (2, 20), (3, 32)], True, "epochs and steps are"),
        ([(1, 12), (2, 24), (2, 24), (3, 36)], True, "epochs and steps are"),
        ([], True, "epochs and steps are"),
    ],
)
def test_epochs_without_their_steps_are_found(tmp_path, steps, has_result, problem):
    lines = [json.dumps({"split": "train", "epoch": epoch, "step": step}) for epoch, step in steps]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    if has_result:
        (tmp_path / "result.json").write_text("{}")
    found = restarts.check_epochs(tmp_path, 3)
    assert found is None if problem is None else re.match(problem, found)


def test_counts_are_given_by_part():
    assert soak.read_counts(["restarts=5", "runs=2"]) == {"restarts": 5, "runs": 2}
    for text in ("restarts", "restarts=0", "restarts=x", "other=1"):
        with pytest.raises(InputError, match=f"--count is '{text}'"):
            soak.read_counts([text])


@pytest.mark.slow
@pytest.mark.parametrize("kind", restarts.KINDS)
def test_torchrun_starts_a_killed_run_again(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(ROOT)
    assert restarts.kill_and_stop(kind, tmp_path / "run", random.Random(0), 1) == (1, None)


@pytest.mark.slow
def test_a_run_goes_on_with_other_processes(make):
    report = make(resizes=6).resizes()
    assert report["went_on"] == 6, report["failures"]
