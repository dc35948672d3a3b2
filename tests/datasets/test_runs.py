"""Runs on other data sets than the bundled one: objects left out, classes from outside, clouds that make no batch."""

import json

import h5py
import numpy as np
import pytest

from pointrecon.datasets.teacher_cache.writer import ImageFeatures, TextFeatures, write_features

CLASSES = 15
IDS = [f"pb_t50_rs-train-{row:05d}" for row in range(2 * CLASSES)]


@pytest.fixture
def scans(tmp_path):
    """ScanObjectNN in miniature, and a teacher cache that lacks one of its objects."""
    folder = tmp_path / "scans" / "ScanObjectNN" / "main_split"
    folder.mkdir(parents=True)
    for seed, (part, count) in enumerate((("training", 2), ("test", 1))):
        with h5py.File(folder / f"{part}_objectdataset_augmentedrot_scale75.h5", "w") as file:
            file["data"] = np.random.RandomState(seed).randn(count * CLASSES, 64, 3).astype(np.float32)
            file["label"] = np.arange(count * CLASSES) % CLASSES
    known = [name for name in IDS if not name.endswith("7")][1:]  # without rows 0, 7, 17 and 27
    random = np.random.RandomState(0)
    prompts = random.randn(1, 2, 6).astype(np.float32)
    classes = random.randn(1, 2, 6).astype(np.float32)
    write_features(
        tmp_path / "cache.h5",
        ImageFeatures(known, [random.randn(len(known), 2, 10).astype(np.float32)]),
        TextFeatures(known, ["thing"] * len(known), prompts, ["{}.", "A {}."], ["thing"], classes, ["{}.", "A {}."]),
    )
    return tmp_path


def test_objects_that_a_cache_lacks_are_left_out_and_counted(launch, scans, capsys):
    options = [f"data_root={scans / 'scans'}", "data.type=ScanObjectNN", "epochs=1"]
    options += [f"teachers.{kind}.path={scans / 'cache.h5'}" for kind in ("image", "text")]
    code, _ = launch(*options, name="stops")
    assert code == 2
    assert "lacks the features of 4 of 30 objects, first 'pb_t50_rs-train-00000'" in capsys.readouterr().err
    code, folder = launch(*options, "data.on_error=skip", name="skips")
    log = (folder / "log.txt").read_text()
    assert code == 0 and "left out: 4 samples without image features, first 'pb_t50_rs-train-00000'" in log
    assert "26 samples" in log or "26 shapes" in log


MODULE = """
import torch
from pointrecon.datasets.dataset import PointCloudDataset

class Boxes(PointCloudDataset):
    def __init__(self, root, *, odd=-1):
        self.odd = odd
        super().__init__(
            ids=[f"box{row}" for row in range(40)],
            labels=[row % 2 for row in range(40)],
            split_of=["test" if row < 10 else "train" for row in range(40)],
            class_names=["flat", "long"],
        )

    def read(self, row):
        draw = torch.Generator().manual_seed(row)
        return self.sample(row, torch.rand(64 + (row == self.odd), 3, generator=draw) * (1 + row % 2))
"""


@pytest.fixture
def boxes(tmp_path, monkeypatch):
    (tmp_path / "boxes_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return ["task=classify", "data.type=boxes_of_mine:Boxes", "epochs=1", "start=random"]


def test_a_class_from_outside_is_trained_on(launch, boxes):
    code, folder = launch(*boxes, name="outside")
    assert code == 0 and json.loads((folder / "result.json").read_text())["num_objects"] == 10


@pytest.mark.parametrize("extra", [[], ["data.device_resident=true"], ["num_workers=1"]])
def test_clouds_of_several_sizes_are_one_sentence_before_training(launch, boxes, extra, capsys):
    code, folder = launch(*boxes, "data.options.odd=33", *extra, name="ragged")
    assert code == 2 and not folder.exists()
    assert "the clouds of Boxes differ in size: 'box10' has 64 points and 'box33' 65" in capsys.readouterr().err
