"""Accuracy against counts by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pointrecon.tools.evaluators.accuracy import accuracy_report, mean_report, report_on, save_predictions
from pointrecon.tools.sweeps.summary import wilson

NAMES = ["ball", "plate", "rod", "cone", "tube"]
LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 3])
PREDICTIONS = torch.tensor([0, 0, 0, 1, 1, 0, 3])


def test_overall_mean_class_and_per_class():
    report = accuracy_report(PREDICTIONS, LABELS, NAMES)
    assert report["accuracy"] == pytest.approx(5 / 7)
    assert report["mean_class_accuracy"] == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)  # two classes have no object
    assert report["num_objects"] == 7
    assert report["class_accuracy"] == {
        "ball": {"accuracy": 0.75, "num_objects": 4},
        "plate": {"accuracy": 0.5, "num_objects": 2},
        "cone": {"accuracy": 1.0, "num_objects": 1},
    }


# Agresti and Coull (1998) and R's binom.confint(..., methods = "wilson").
@pytest.mark.parametrize(
    "correct, count, low, high",
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (9, 10, 0.5958, 0.9821), (10, 10, 0.7225, 1.0), (1, 1, 0.2065, 1)],
)
def test_wilsons(correct, count, low, high):
    assert wilson(correct / count, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0.0, 2)[0] >= 0.0 and str(wilson(0.0, 2)[0]) == "0.0" and wilson(1.0, 2)[1] <= 1.0


def test_an_interval_holds_the_truth_as_often_as_it_says():
    draw, truth, count = np.random.RandomState(0), 0.8, 109
    found = draw.binomial(count, truth, size=20_000) / count
    inside = [low <= truth <= high for low, high in (wilson(share, count) for share in found)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.01)
    low, high = wilson(truth, count)
    assert high - low == pytest.approx(0.15, abs=0.005)  # 109 objects: 7 to 8 points either way


def test_without_a_class_of_near_copies():
    dataset = SimpleNamespace(class_names=NAMES, near_copies=("ball",))
    report = report_on(dataset, PREDICTIONS, LABELS)
    assert report["accuracy_without_ball"] == pytest.approx(2 / 3)
    assert report["accuracy"] == pytest.approx(5 / 7)


def test_the_mean_of_several_draws():
    one, two = (accuracy_report(predictions, LABELS, NAMES) for predictions in (PREDICTIONS, LABELS))
    assert mean_report([one]) == one
    mean = mean_report([one, two])
    assert mean["accuracy"] == pytest.approx(6 / 7) and mean["num_objects"] == 7
    assert mean["accuracy_std"] == pytest.approx(np.std([5 / 7, 1], ddof=1))
    assert mean["accuracy_interval"] == pytest.approx(wilson(6 / 7, 7))
    assert mean["class_accuracy"]["ball"] == {"accuracy": 0.875, "num_objects": 4}


def test_predictions_are_written_as_documented(tmp_path):
    path, shares = tmp_path / "predictions.npz", torch.tensor([[0.25, 0.75], [0.0, 1.0]])
    common = {"ids": ["a", "b"], "labels": torch.tensor([0, 1]), "predictions": torch.tensor([1, 1])}
    save_predictions(path, **common, class_names=["bed", "car"], probabilities=shares)
    with np.load(path) as file:
        assert file["ids"].tolist() == ["a", "b"] and file["class_names"].tolist() == ["bed", "car"]
        assert file["labels"].tolist() == [0, 1] and file["predictions"].tolist() == [1, 1]
        assert file["probabilities"].tolist() == shares.tolist() and file["probabilities"].dtype == np.float32
