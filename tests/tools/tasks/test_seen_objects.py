"""What a network was trained on, told from its data set's ids: the same objects under another data set's name count."""

import json
import pickle

import numpy as np
import pytest
import torch

from pointrecon.datasets.opening import open_split
from pointrecon.datasets.shards.index import OBJECTS
from pointrecon.datasets.splits import Choice
from pointrecon.tools.shards import make_shards
from pointrecon.tools.tasks.start import SeenObjects, keys_of, object_keys, seen_by
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError


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
    assert seen.count(keys_of(data("SweetHome3D"), fold)) == 0
    trained = open_split("SweetHome3D", str(data_root), Choice(split="pretrain", fold=0)).ids
    assert seen.count(keys_of(data("SweetHome3D"), whole)) == np.isin(list(whole.ids), list(trained)).sum() > 0


SVM = ("task=evaluate", "epochs=0", "evaluators={svm: {}}", "data.fold=0", "--ckpts")


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture
def shards(data_root, tmp_path):
    """Shards of the miniature's pretraining split, as make_shards writes them; returns their folder's parent."""
    (tmp_path / "of.yaml").write_text(
        f"{{task: pretrain, device: cpu, data_root: {data_root}, data: {{num_points: 48}}}}"
    )
    make_shards(load_config(tmp_path / "of.yaml"), tmp_path / "shards", ["pretrain"], 20)
    return tmp_path / "shards"


def train_on_shards(launch, shards, name):
    options = ("data.type=Shards", f"data.options={{folder: {shards}}}", "epochs=1", "teachers.image.center=false")
    code, folder = launch(*options, name=name)
    assert code == 0
    return folder / "ckpt-last.pth"


def test_objects_of_shards_are_those_that_they_were_made_of(launch, shards):
    direct = launch("epochs=1", name="direct")[1] / "ckpt-last.pth"
    expected = result(launch(*SVM, direct, name="a")[1])["seen_in_training"]
    assert expected["svm"]["num_seen"] > 0
    pretrained = train_on_shards(launch, shards, "sharded")
    found = result(launch(*SVM, pretrained, name="b")[1])
    assert found["seen_in_training"] == expected and "seen_unknown" not in found
    keys = torch.load(pretrained, weights_only=True)["seen_objects"]
    assert torch.equal(keys, torch.load(direct, weights_only=True)["seen_objects"])


def test_shards_that_do_not_say_which_objects_they_hold_are_named(launch, shards):
    keys = np.load(shards / "pretrain" / OBJECTS)
    (shards / "pretrain" / OBJECTS).unlink()
    pretrained = train_on_shards(launch, shards, "sharded")
    source = f"Shards (folder={shards})"
    code, folder = launch(*SVM, pretrained, name="b")
    assert code == 0 and result(folder)["seen_unknown"] == {"svm": [source]}
    assert f"is unknown: {source} does not say" in (folder / "log.txt").read_text()
    # Checkpoints of earlier versions have no word on it.
    content = torch.load(pretrained, weights_only=True)
    del content["seen_unknown"]
    torch.save(content, pretrained)
    assert result(launch(*SVM, pretrained, name="c")[1])["seen_unknown"] == {"svm": [source]}
    # The same command names the objects of the shards that are there.
    make_shards(load_config(shards.parent / "of.yaml"), shards, ["pretrain"], 20)
    assert np.array_equal(np.load(shards / "pretrain" / OBJECTS), keys)


def test_numbers_of_objects_that_are_damaged_are_refused(launch, shards, capsys):
    (shards / "pretrain" / OBJECTS).write_bytes(b"nothing")
    code, _ = launch("data.type=Shards", f"data.options={{folder: {shards}}}", "epochs=1", name="x")
    assert code == 2 and f"'{shards / 'pretrain' / OBJECTS}' is damaged" in capsys.readouterr().err
    np.save(shards / "pretrain" / OBJECTS, np.zeros(65))
    with pytest.raises(InputError, match="it holds float64 values"):
        open_split("Shards", str(shards.parent), Choice(split="pretrain"))


def test_a_config_of_shards_tells_that_nothing_is_known(tmp_path):
    cfg = {"data_root": str(tmp_path), "data": {"type": "SweetHome3D"}}
    content = {"seen_objects": torch.zeros(0, dtype=torch.int64), "config": {"data": {"type": "Shards"}}}
    assert seen_by(content, cfg).unknown == {"Shards"}
    for config in (None, {"data": 3}, {"data": {"type": "Shards", "options": 3}}, {"data": {"type": "ShapeNet55"}}):
        assert not seen_by({**content, "config": config}, cfg).unknown


def few_shot(root, fold, ids=None, first=0):
    """Writes a fold of two classes; returns both splits."""
    points = np.random.RandomState(0).randn(20, 16, 3).astype(np.float32)
    rows = {"train": range(first, first + 4), "test": range(first + 4, first + 10)}
    content = {part: [(points[row], row % 2, "") for row in numbers] for part, numbers in rows.items()}
    content |= {} if ids is None else {"ids": {part: [ids[row] for row in numbers] for part, numbers in rows.items()}}
    path = root / "ModelNetFewshot" / "2way2shot" / f"{fold}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    choice = {"way": 2, "shots": 2, "fold": fold}
    return [open_split("ModelNetFewShot", str(root), Choice(split=part, **choice)) for part in rows]


def test_few_shot_files_that_name_their_objects_are_compared_with_modelnet(tmp_path):
    names = [f"bed_{row:04d}" for row in range(20)]
    train, test = few_shot(tmp_path, 0, names)
    assert train.knows_objects and np.array_equal(
        keys_of(data("ModelNetFewShot"), test), object_keys(data("ModelNet10"), names[4:10])
    )
    assert np.array_equal(keys_of(data("ModelNetFewShot"), train), object_keys(data("ModelNet40"), names[:4]))


@pytest.mark.parametrize("ids", [None, 3, {"train": ["a"], "test": ["b"]}, {"train": [1] * 9, "test": [1] * 9}])
def test_published_few_shot_files_are_compared_by_their_clouds_and_named(tmp_path, ids):
    train, _ = few_shot(tmp_path, 0)
    assert not train.knows_objects
    _, test = few_shot(tmp_path, 1, first=-2)  # rows 18, 19, 0, 1 to train and 2 to 7 to test on
    if ids is not None:
        path = tmp_path / "ModelNetFewshot" / "2way2shot" / "1.pkl"
        path.write_bytes(pickle.dumps({**pickle.loads(path.read_bytes()), "ids": ids}))
        test = open_split("ModelNetFewShot", str(tmp_path), Choice(split="test", way=2, shots=2, fold=1))
    seen = SeenObjects()
    seen.add({**data("ModelNetFewShot"), "fold": 0}, train)
    assert seen.unknown == {"ModelNetFewShot (fold=0)"} and not test.knows_objects
    assert seen.count(keys_of(data("ModelNetFewShot"), test)) == 2
