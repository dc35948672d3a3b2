"""What stays: nothing that the bundled set tests on, under whatever name; no copies; a few of each family."""

import numpy as np
import pytest
import torch

from pointrecon.datasets.opening import open_split
from pointrecon.datasets.splits import Choice
from pointrecon.extensions import ops
from pointrecon.tools.debshapes.select import NO_OBJECT, Rules, select
from pointrecon.tools.debshapes.shape import Shape, to_bytes
from pointrecon.tools.debshapes.sources.sources import Item
from pointrecon.tools.debshapes.sources.text import text_of
from pointrecon.utils.errors import InputError
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


def spikes(folder, number):
    clouds = np.random.RandomState(1).randn(number, 2048, 3) ** 3
    return [write(folder, cloud / np.abs(cloud).max()) for cloud in clouds]


def named(source, name):
    return Item(source, "data", "1", f"{source}/{name}", name)


def test_version_2_leaves_out_what_is_never_drawn_and_what_is_too_frequent(tmp_path):
    names = ["invisible_wall", "JungleTreeCollision", "limits", "limitless", "door", "door"]
    items = [named("toys", name) for name in names] + [named("dart", "elbow_collision")]
    files = spikes(tmp_path, len(items))
    kept, counts = select(items, files, Rules(data_root=DATA, leave_out="none", per_kind=1))
    assert [entry.name for entry in kept] == ["limitless", "door", "elbow_collision"]
    assert counts["toys"] == {"no object": 3, "frequent text": 1}


def test_sizes_of_one_kind_count_together(tmp_path):
    """Pin headers of all lengths and pitches have 377 texts."""
    items = [
        Item(
            "kicad",
            "data",
            "1",
            f"Connector_PinHeader_{pitch}.3dshapes/{name}.wrl",
            name,
            hints=(f"Connector_PinHeader_{pitch}",),
        )
        for pitch in ("1.00mm", "2.00mm")
        for name in (f"PinHeader_1x{pins:02}_P{pitch}_Vertical" for pins in (2, 3, 9))
    ]
    texts = {text_of(item) for item in items}
    assert len(texts) > 1 and all(text.startswith("pin header") for text in texts)
    kept, counts = select(items, spikes(tmp_path, len(items)), Rules(data_root=DATA, leave_out="none", per_kind=2))
    assert len(kept) == 2 and counts["kicad"] == {"frequent text": 4}


@pytest.mark.parametrize(
    ("name", "is_none"),
    [
        ("InvisibleWalls", True),
        ("stklib_carousel_a_physic", True),
        ("hd_palmTree_a_col", True),
        ("boundaries", True),
        ("reset_plane", True),
        ("limit_LOD35", False),  # a post that stands there
        ("invis", False),  # a sign
        ("column", False),
        ("sky_beam_0", False),
    ],
)
def test_names_of_what_is_never_drawn(name, is_none):
    assert (NO_OBJECT.search(name) is not None) == is_none


def test_version_1_can_still_be_made(tmp_path):
    items = [named("toys", name) for name in ("invisible_wall", "door", "door")]
    rules = Rules(data_root=DATA, leave_out="none", per_kind=1, version=1)
    assert select(items, spikes(tmp_path, 3), rules) == (items, {})
    assert rules.describe() == {"leave_out": "none", "per_family": 64}
    assert Rules().describe() == {"leave_out": "labelled", "per_family": 64, "version": 2, "per_kind": 96}


def test_an_unknown_version_is_refused():
    with pytest.raises(InputError, match="version is 3"):
        Rules(version=3)
