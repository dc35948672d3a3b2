"""Accuracy against counts by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pointrecon.tools.evaluators.accuracy import accuracy_report, report_on, save_predictions

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 3])
PREDICTIONS = torch.tensor([0, 0, 0, 1, 1, 0, 3])


def test_overall_and_mean_class():
    report = accuracy_report(PREDICTIONS, LABELS, num_classes=5)
    assert report["accuracy"] == pytest.approx(5 / 7)
    assert report["mean_class_accuracy"] == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)  # classes 2 and 4 have no object
    assert report["num_objects"] == 7


def test_without_a_class_of_near_copies():
    dataset = SimpleNamespace(class_names=["ball", "plate", "rod", "cone"], near_copies=("ball",))
    report = report_on(dataset, PREDICTIONS, LABELS)
    assert report["accuracy_without_ball"] == pytest.approx(2 / 3)
    assert report["accuracy"] == pytest.approx(5 / 7)


def test_predictions_are_written_as_documented(tmp_path):
    path = tmp_path / "predictions.npz"
    save_predictions(path, ["a", "b"], torch.tensor([0, 1]), torch.tensor([1, 1]), ["bed", "car"])
    with np.load(path) as file:
        assert file["ids"].tolist() == ["a", "b"] and file["class_names"].tolist() == ["bed", "car"]
        assert file["labels"].tolist() == [0, 1] and file["predictions"].tolist() == [1, 1]
