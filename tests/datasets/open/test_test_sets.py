"""The zero-shot test sets as data sets: labels, colours, axes, sizes, objects out of files or out of shards."""

import shutil

import numpy as np
import pytest
import torch

from pointrecon.datasets.open.test_sets import MIXED, ObjaverseLVIS, OpenModelNet40, OpenScanObjectNN
from pointrecon.datasets.open.zero_shot import LVIS, find_zero_shot_sets
from pointrecon.datasets.opening import open_split
from pointrecon.datasets.splits import Choice
from pointrecon.tools.open.convert import convert
from pointrecon.utils.errors import InputError
from tests.datasets.open.layouts import MINI, UIDS, make_uni3d, save_objects


@pytest.fixture
def root(tmp_path):
    shutil.copytree(MINI, tmp_path / "openshape")
    return tmp_path


def test_what_they_give(root):
    dataset = open_split("OpenModelNet40", str(root), Choice(split="test"), {"on_error": "skip"})
    assert len(dataset) == 3 and dataset.class_features.shape == (3, 16) and (dataset.split_of == "test").all()
    points, colors = find_zero_shot_sets(MINI, names=("ModelNet40",))[0].read(1)
    sample = dataset[1]
    np.testing.assert_array_equal(sample["points"], points)
    np.testing.assert_allclose(sample["colors"], colors)
    assert sample["label"] == int(dataset.labels[1]) and sample["points"].dtype == torch.float32
    scan = open_split("OpenScanObjectNN", str(root), Choice(split="test"), None, defaults={"color_fill": 0.6, "x": 1})
    assert (scan[0]["colors"] == 0.6).all() and len(scan.class_names) == 15
    turned = OpenModelNet40(str(root), up="z")[1]["points"]
    np.testing.assert_array_equal(turned[:, 1], points[:, 2])  # what was z is up
    with pytest.raises(InputError, match="3 labelled objects.*5 folds"):
        open_split("OpenModelNet40", str(root), Choice(split="train", fold=0))


def test_clouds_of_several_sizes_are_cut_and_filled(tmp_path):
    folder = make_uni3d(tmp_path).name
    dataset = OpenScanObjectNN(str(tmp_path.parent), folder=folder, num_points=45)
    first, second = dataset[0]["points"], dataset[1]["points"]
    assert len(first) == len(second) == 45 and len(second.unique(dim=0)) == 40
    assert torch.equal(second, dataset[1]["points"])


def test_objects_without_files_come_out_of_shards(root):
    plain = [ObjaverseLVIS(str(root))[row] for row in range(2)]
    convert(MINI / "objaverse-processed", root / "openshape" / "shards", shard_size=4)
    file = next((root / "openshape").rglob(f"{UIDS[0][8:]}.npy"))
    file.unlink()
    mixed = [ObjaverseLVIS(str(root))[row] for row in range(2)]
    shutil.rmtree(root / "openshape" / "objaverse-processed")
    shards = ObjaverseLVIS(str(root))
    for row in range(2):
        assert plain[row]["id"] == mixed[row]["id"] == shards[row]["id"]
        for name, tolerance in (("points", 1e-3), ("colors", 1 / 500)):
            for other in (mixed, shards):
                np.testing.assert_allclose(plain[row][name], other[row][name], atol=tolerance)
    assert find_zero_shot_sets(root, names=(LVIS,))[0].read(0)[1] is not None


def test_a_mixed_file_needs_to_be_told_what_is_for_testing(root):
    clouds = np.random.RandomState(0).randn(MIXED, 4, 3).astype(np.float32)
    content = {"xyz": clouds, "label": np.arange(MIXED) % 15}
    save_objects(root / "openshape" / "meta_data" / "scanobjectnn" / "xyz_label.npy", content)
    with pytest.raises(InputError, match=r"data.options.part=all"):
        OpenScanObjectNN(str(root))
    assert len(OpenScanObjectNN(str(root), part="all")) == MIXED


def test_mistakes(root):
    for options, message in (
        ({"num_points": 0}, "data.options.num_points is 0"),
        ({"color_fill": 2.0}, "color_fill 2.0"),
        ({"up": "w"}, "up is 'w'"),
        ({"folder": "none"}, "is no folder"),
        ({"folder": "openshape/meta_data/split"}, "has no ModelNet40; such have one of: modelnet40/test_pc.npy"),
    ):
        with pytest.raises(InputError, match=message):
            OpenModelNet40(str(root), **options)
    make_uni3d(root / "openshape")
    with pytest.raises(InputError, match=r"ModelNet40 is in .* and .*give data.options.folder"):
        OpenModelNet40(str(root), folder="openshape")
