"""What a network was trained on, told from its data set's ids: the same objects under another data set's name count."""

import numpy as np
import pytest

from pointrecon.datasets.opening import open_split
from pointrecon.datasets.splits import Choice
from pointrecon.tools.tasks.start import SeenObjects, object_keys


def data(kind, root=None, **options):
    return {"type": kind, "root": root, "options": options}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((data("ModelNet40"), "bed_0001"), (data("ModelNet10"), "bed_0001")),
        ((data("DebShapes"), "pkg:a/b.obj"), (data("DebShapesClasses", classes="parts"), "pkg:a/b.obj")),
        ((data("ShapeNet55"), "02691156-10155655"), (data("ShapeNetPart"), "02691156/10155655")),
        ((data("Folder", "own"), "chair/a.obj"), (data("Folder", "own/chair"), "a.obj")),
        ((data("Folder", "own"), "chair/a.obj"), (data("Folder", "own/list.csv"), "chair/a.obj")),
        ((data("Folder", "own/list.csv"), "../more/a.obj"), (data("Folder", "more"), "a.obj")),
    ],
)
def test_one_object_has_one_key(first, second):
    assert object_keys(first[0], [first[1]]) == object_keys(second[0], [second[1]])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((data("ModelNet40"), "bed_0001"), (data("ShapeNet55"), "bed_0001")),
        ((data("Folder", "own"), "chair/a.obj"), (data("Folder", "other"), "chair/a.obj")),
    ],
)
def test_others_have_others(first, second):
    assert object_keys(first[0], [first[1]]) != object_keys(second[0], [second[1]])


def test_objects_of_a_union_are_those_of_its_parts(data_root):
    options = {"parts": [{"type": "SweetHome3D", "fold": 0, "repeat": 2}, {"type": "RandomShapes"}]}
    options |= {"num_points": 32, "teachers": []}
    union = open_split("Union", str(data_root), Choice(split="pretrain"), options)
    seen = SeenObjects()
    seen.add(data("Union", **options), union)
    fold, whole = (open_split("SweetHome3D", str(data_root), Choice(split="test", fold=fold)) for fold in (0, None))
    assert seen.count(data("SweetHome3D"), fold.ids) == 0
    trained = open_split("SweetHome3D", str(data_root), Choice(split="pretrain", fold=0)).ids
    assert seen.count(data("SweetHome3D"), whole.ids) == np.isin(list(whole.ids), list(trained)).sum() > 0
