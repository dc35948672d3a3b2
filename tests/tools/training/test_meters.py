"""Means over steps."""

import math

import pytest
import torch

from pointrecon.tools.training.meters import MeanMeter


def test_the_mean_is_weighted_and_by_name():
    meter = MeanMeter()
    meter.update({"loss": torch.tensor(1.0), "acc": 0.5}, weight=3)
    meter.update({"loss": torch.tensor(5.0, requires_grad=True)}, weight=1)
    assert meter.compute() == {"loss": 2.0, "acc": 0.5}


def test_it_starts_anew():
    meter = MeanMeter()
    meter.update({"loss": 1.0})
    meter.reset()
    assert meter.compute() == {}


def test_low_precision_values_are_summed_exactly():
    meter = MeanMeter()
    for _ in range(5000):
        meter.update({"x": torch.tensor(1.0, dtype=torch.bfloat16)})
    assert meter.compute() == {"x": 1.0}


def test_it_keeps_no_graph_and_shows_nan():
    meter = MeanMeter()
    value = torch.tensor(2.0, requires_grad=True) * 2
    meter.update({"x": value})
    assert not meter._totals["x"].requires_grad
    meter.update({"x": float("nan")})
    assert math.isnan(meter.compute()["x"])


@pytest.mark.gpu
def test_values_stay_on_the_device():
    meter = MeanMeter()
    meter.update({"x": torch.tensor(2.0, device="cuda")})
    assert meter._totals["x"].is_cuda and meter.compute() == {"x": 2.0}


def test_sums_go_on_after_an_interruption():
    whole, first, second, other = (MeanMeter() for _ in range(4))
    for number in range(5):
        for meter in (whole, first if number < 3 else second):
            if number == 3 and meter is second:
                second.load_state(first.state())
            meter.update({"loss": torch.tensor(0.1 * number)}, 7)
    assert second.compute() == whole.compute() and first.state()["loss"][1] == 21
    other.load_state(first.state(), is_main=False)
    assert other.state() == {"loss": [0.0, 0.0]}
    assert MeanMeter().state() == {}
