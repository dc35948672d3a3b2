"""Where the time of a step goes."""

import sys
import time
from types import SimpleNamespace

import pytest
import torch
from bench_parts import bench_assign, bench_open
from bench_parts.timing import PartTimer, largest_costs, timed_parts
from torch import nn

from pointrecon.utils.errors import InputError

CPU = torch.device("cpu")


def test_a_part_inside_another_is_not_counted_twice(monkeypatch):
    ticks = iter([0.0, 1.0, 3.0, 10.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    timer = PartTimer(CPU)
    inner = timer.wrap("inner", lambda: None)
    timer.wrap("outer", inner)()
    assert timer.seconds == {"inner": 2.0, "outer": 8.0}


def test_an_error_closes_the_part():
    timer = PartTimer(CPU)
    with pytest.raises(ZeroDivisionError):
        timer.wrap("part", lambda: 1 / 0)()
    timer.wrap("next", lambda: None)()
    assert set(timer.seconds) == {"part", "next"}


def test_a_runner_is_as_before_when_the_timing_is_over():
    class Task:
        def __init__(self):
            self.model = nn.Linear(2, 2)
            self.model.encoder = nn.Sequential()
            self.network, self.transform = self.model, abs

        def training_step(self):
            return self.transform(-3)

    class Runner:
        def __init__(self):
            self.task, self.ctx = Task(), SimpleNamespace(device=CPU)

        def read_batches(self):
            return "read"

        def step_optimizer(self):
            return "moved"

    runner = Runner()
    with timed_parts(runner) as timer:
        assert (runner.read_batches(), runner.task.training_step(), runner.step_optimizer()) == ("read", 3, "moved")
    assert {"data", "augmentation", "optimizer", "losses and rest of forward"} == set(timer.seconds)
    assert set(vars(runner)) == {"task", "ctx"} and runner.task.transform is abs
    assert "training_step" not in vars(runner.task)


def test_the_largest_cost_is_found():
    a = torch.randn(300, 300)
    found = largest_costs(lambda: a @ a, CPU, 3)
    assert found["largest_costs"][0]["operation"] == "aten::mm" and found["kernel_launches"] is None


def test_the_matching_is_timed_and_checked(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench_assign.py", "--problems", "3", "--rounds", "2", "--check", "50"])
    assert bench_assign.main() == 0
    assert "checked: 50 mistakes: 0" in capsys.readouterr().out


def test_a_matching_that_is_not_the_best_is_counted(monkeypatch):
    monkeypatch.setattr(bench_assign.ops, "assign", lambda scores, present: torch.full(scores.shape[:2], -1))
    assert bench_assign.count_mistakes(5, 3, CPU) == 5


def test_reconpp_has_no_size_ti(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench_open.py", "--model", "reconpp", "--size", "ti"])
    with pytest.raises(InputError, match="not 'ti'"):
        bench_open.main()
