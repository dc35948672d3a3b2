"""What stays: nothing that the bundled set tests on, under whatever name; no copies; a few of each family."""


import numpy as np
import pytest
import torch

from pointrecon.datasets.opening import open_split
from pointrecon.datasets.splits import Choice
from pointrecon.extensions import ops
from pointrecon.tools.debshapes.select import Rules, select
from pointrecon.tools.debshapes.shape import Shape, to_bytes
from pointrecon.tools.debshapes.sources.sources import Item
from tests import ROOT

DATA = ROOT / "data"


@pytest.fixture(scope="module")
def bundled():
    return open_split("SweetHome3D", str(DATA), Choice(split="pretrain"))


def write(folder, points):
    """Writes (2048, 3) points, turned a quarter, as a shape."""
    x, y, z = torch.as_tensor(points).unbind(-1)
    cloud = torch.stack([z, y, -x], -1)[None]
    path = folder / f"{len(list(folder.iterdir()))}.npz"
    path.write_bytes(to_bytes(Shape(ops.gather(cloud, ops.fps(cloud, 2048))[0].numpy().astype(np.float16), [], 1.0)))
    return path


def item(path, key=""):
    return Item("toys", "toys-data", "1", path, path, key=key)


def causes(items, files, **options):
    kept, counts = select(items, files, Rules(data_root=DATA, **options))
    return [entry.path for entry in kept], dict(counts.get("toys", {}))


def test_tested_objects_are_left_out_by_key_and_by_shape(tmp_path, bundled):
    chair = bundled.labels.tolist().index(bundled.class_names.index("chair"))
    other = [row for row, label in enumerate(bundled.labels.tolist()) if label < 0][5]
    spikes = np.random.RandomState(0).randn(2048, 3) ** 3
    items = [item("a", bundled.ids[chair]), item("b"), item("c", bundled.ids[other]), item("d")]
    points = [spikes[::-1].copy() / 99, bundled.points[chair], bundled.points[other], spikes / 99]
    files = [write(tmp_path, cloud) for cloud in points]
    left = {"in the bundled set": 1, "like a bundled one": 1}
    assert causes(items, files) == (["c", "d"], left)
    assert causes(items, files, leave_out="all") == (["d"], {"in the bundled set": 2, "like a bundled one": 1})
    assert causes(items, files, leave_out="none") == (["a", "b", "c"], {"duplicate": 1})


def test_nothing_may_be_left(tmp_path, bundled):
    chair = bundled.labels.tolist().index(bundled.class_names.index("chair"))
    files = [write(tmp_path, bundled.points[chair])]
    assert causes([item("a")], files) == ([], {"like a bundled one": 1})
