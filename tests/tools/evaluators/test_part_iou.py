"""Intersection over union against counts by hand."""

import json

import pytest
import torch

from pointrecon.tools.evaluators.part_iou import (
    format_report,
    make_belongs,
    object_ious,
    part_iou_report,
    predict_parts,
    save_part_ious,
)

NAMES = ["Airplane", "Bag", "Cap"]
BELONGS = make_belongs([[0, 1, 2], [3, 4], [5]], 6)
# Two airplanes and a bag of four points.
LABELS = torch.tensor([0, 0, 1])
PARTS = torch.tensor([[0, 0, 0, 1], [0, 1, 1, 1], [3, 3, 4, 4]])
PREDICTIONS = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 2], [3, 3, 3, 3]])
IOUS = (
    (2 / 3 + 1 / 2 + 1) / 3,  # part 2 is neither predicted nor there
    (1 + 2 / 3 + 0) / 3,  # part 2 is predicted and not there
    (2 / 4 + 0) / 2,  # part 4 is there and not predicted
)


def test_parts_belong_to_one_category():
    assert BELONGS.sum(dim=0).tolist() == [1] * 6
    assert BELONGS[1].tolist() == [False, False, False, True, True, False]


def test_only_parts_of_the_category_are_predicted():
    scores = torch.tensor([[[-5.0, -3, -4, 9, 8, 7]], [[-5.0, -3, -4, -9, -8, 7]]])
    assert predict_parts(scores, torch.tensor([0, 1]), BELONGS).tolist() == [[1], [4]]


def test_ious_of_objects():
    assert object_ious(PREDICTIONS, PARTS, LABELS, BELONGS).tolist() == pytest.approx(IOUS)
    assert object_ious(PARTS, PARTS, LABELS, BELONGS).tolist() == [1, 1, 1]


def test_means_over_objects_and_over_categories():
    report = part_iou_report(torch.tensor(IOUS), LABELS, NAMES)
    airplane = (IOUS[0] + IOUS[1]) / 2
    assert report["instance_miou"] == pytest.approx(sum(IOUS) / 3)
    assert report["class_miou"] == pytest.approx((airplane + IOUS[2]) / 2)  # there is no cap
    assert report["num_objects"] == 3 and list(report["categories"]) == NAMES[:2]
    assert report["categories"]["Airplane"] == {"iou": pytest.approx(airplane), "num_objects": 2}


def test_the_table_and_the_file(tmp_path):
    report = part_iou_report(torch.tensor(IOUS), LABELS, NAMES)
    lines = format_report(report).splitlines()
    assert len(lines) == 5 and len({len(line) for line in lines}) == 1  # a head, two categories, two means
    assert lines[2].split() == ["Bag", "0.2500", "1"]
    save_part_ious(tmp_path / "part_iou.json", report, ["b", "a", "c"], torch.tensor(IOUS))
    content = json.loads((tmp_path / "part_iou.json").read_text())
    assert content["objects"] == pytest.approx({"a": IOUS[1], "b": IOUS[0], "c": IOUS[2]})
    assert content["categories"]["Bag"]["iou"] == pytest.approx(0.25)
