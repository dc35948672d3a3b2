"""Few-shot folds: read in every published spelling, made from ModelNet40, and refused when they are damaged."""

import os
import pickle

import numpy as np
import pytest
import torch

from pointrecon.datasets.modelnet.class_names import MODELNET40
from pointrecon.datasets.modelnet.fewshot import ModelNetFewShot, make_folds
from pointrecon.utils.errors import InputError
from tests.datasets import opened

RANDOM = np.random.RandomState(0)
POINTS = RANDOM.randn(15, 8, 6)


def entries(count, third=None, start=0):
    return [(POINTS[start + row], row % 3, third and third[row % 3]) for row in range(count)]


def write(root, content=None, folder="ModelNetFewshot/3way2shot", fold=4):
    path = root / folder / f"{fold}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        content = pickle.dumps(content or {"train": entries(6), "test": entries(9, start=6)})
    path.write_bytes(content)
    return path


def build(root, split="train", **options):
    return opened("ModelNetFewShot", root, split, **{"way": 3, "shots": 2, "fold": 4, **options})


@pytest.mark.parametrize("folder", ["3way2shot", "3way_2shot"])
@pytest.mark.parametrize("parent", ["ModelNetFewshot", "ModelNet/ModelNetFewshot"])
def test_published_spellings(tmp_path, parent, folder):
    write(tmp_path, folder=f"{parent}/{folder}")
    dataset = build(tmp_path, "test")
    assert len(dataset) == 9 and dataset.num_classes == 3 and dataset.features_path is None
    sample = dataset[4]
    assert set(sample) == {"points", "label", "text", "id"} and sample["label"] == 1
    assert sample["points"].shape == (8, 3) and sample["points"].dtype == torch.float32
    centred = POINTS[10, :, :3] - POINTS[10, :, :3].mean(axis=0)
    np.testing.assert_allclose(
        sample["points"].numpy(), centred / np.linalg.norm(centred, axis=1).max(), atol=1e-6, rtol=0
    )
    assert sample["id"] == dataset.ids[4] and sample["text"] == dataset.names[4] == "class 1"


def test_splits_share_no_object(tmp_path):
    write(tmp_path)
    splits = {name: set(build(tmp_path, name, val_fraction=0.5).ids) for name in ("train", "val", "test", "pretrain")}
    assert [len(splits[name]) for name in ("train", "val", "test", "pretrain")] == [3, 3, 9, 3]
    assert not splits["train"] & splits["val"] and not (splits["train"] | splits["val"]) & splits["test"]
    assert len(build(tmp_path)) == 6, "the folder has chosen the shots"


def test_items_share_the_points_of_the_data_set(tmp_path):
    write(tmp_path)
    dataset = build(tmp_path)
    assert dataset[3]["points"].untyped_storage().data_ptr() == dataset.points.untyped_storage().data_ptr()


@pytest.mark.parametrize(
    ("third", "names"),
    [
        (["night_stand", "car", "tv_stand"], ["night_stand", "car", "tv_stand"]),
        ([23, 7, 36], ["night_stand", "car", "tv_stand"]),
        ([np.int64(23), np.array([7]), 40], ["night_stand", "class 1", "class 2"]),
        (None, ["class 0", "class 1", "class 2"]),
        (["car", "car", "bed"], ["class 0", "class 1", "class 2"]),
    ],
)
def test_class_names_come_from_the_file_if_it_has_them(tmp_path, third, names):
    write(tmp_path, {"train": entries(6, third), "test": entries(9, third, 6)})
    dataset = build(tmp_path)
    assert dataset.class_names == names
    assert dataset.class_texts[0] == names[0].replace("_", " ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"way": None}, "data.way is None"),
        ({"shots": None}, "data.shots is None"),
        ({"fold": None}, "data.fold is None.* 0 to 9"),
        ({"fold": 10}, "data.fold is 10"),
        ({"way": 5}, r"'5way2shot' or '5way_2shot' in .*make it with scripts/prepare_data\.py fewshot"),
        ({"fold": 5}, r"there is no '.*5\.pkl'"),
        ({"on_error": "no"}, "data.on_error"),
    ],
)
def test_missing_or_wrong_choice_is_refused(tmp_path, options, message):
    write(tmp_path)
    with pytest.raises(InputError, match=message):
        build(tmp_path, **options)


def test_number_of_classes_must_be_that_of_the_file(tmp_path):
    write(tmp_path, folder="ModelNetFewshot/2way2shot")
    with pytest.raises(InputError, match=r"object 2 in 'train' of '.*4\.pkl' has the label 2, but .* 0 to 1"):
        build(tmp_path, way=2)
    write(tmp_path, folder="ModelNetFewshot/4way2shot")
    with pytest.raises(InputError, match=r"'train' of '.*4\.pkl' has no object of class 3"):
        build(tmp_path, way=4)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ((POINTS[0] * np.nan, 0), "NaN"),
        ((POINTS[0, :5], 0), "has 5 points, but must have 8"),
        ((POINTS[0], -1), "label -1"),
        ((POINTS[0],), "must start with points and a label"),
        (7, "must start with points and a label"),
        (("text", 0), "must hold numbers"),
    ],
)
def test_damaged_object_is_refused_or_skipped(tmp_path, bad, message):
    write(tmp_path, {"train": [*entries(6), bad], "test": entries(9, start=6)})
    with pytest.raises(InputError, match=rf"object 6 in 'train' of '.*4\.pkl' .*{message}"):
        build(tmp_path)
    dataset = build(tmp_path, on_error="skip")
    assert len(dataset) == 6 and dataset.num_skipped == 1
    assert build(tmp_path, "test").num_skipped == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "must hold a dict with 'train' and 'test'"),
        ({"train": [], "test": []}, "must be a list of objects"),
        ({"train": [(1, 2)], "test": []}, "shape"),
        (b"cos\nsystem\n(S'false'\ntR.", r"refused: it asks for 'os\.system'"),
        (pickle.dumps({"train": entries(6)})[:-9], "not a complete pickle"),
    ],
)
def test_damaged_file_is_refused(tmp_path, content, message):
    write(tmp_path, content)
    with pytest.raises(InputError, match=rf"4\.pkl.*{message}"):
        build(tmp_path)


@pytest.fixture
def modelnet(tmp_path):
    """ModelNet40 of 3 training and 21 test objects a class."""
    folder = tmp_path / "ModelNet" / "modelnet40_normal_resampled"
    folder.mkdir(parents=True)
    (folder / "modelnet40_shape_names.txt").write_text("\n".join(MODELNET40))
    for part, count, first in (("train", 3, 0), ("test", 21, 100)):
        ids = [f"{name}_{first + row:04d}" for name in MODELNET40 for row in range(count)]
        points = np.random.RandomState(first).randn(len(ids), 4, 3).astype(np.float32)
        (folder / f"modelnet40_{part}.txt").write_text("\n".join(ids))
        labels = np.repeat(np.arange(40), count)
        (folder / f"modelnet40_{part}_4pts_fps.dat").write_bytes(pickle.dumps([list(points), list(labels)]))
    return tmp_path


def test_made_folds_are_read_back(modelnet):
    paths = make_folds(str(modelnet), settings=[(3, 2), (4, 1)], num_folds=2, num_stored=4)
    assert [str(path.relative_to(modelnet)) for path in paths] == [
        f"ModelNetFewshot/{setting}/{fold}.pkl" for setting in ("3way2shot", "4way1shot") for fold in (0, 1)
    ]
    train, test = (build(modelnet, split, fold=1) for split in ("train", "test"))
    assert train.labels.bincount().tolist() == [2, 2, 2] and test.labels.bincount().tolist() == [20, 20, 20]
    assert train.class_names == test.class_names and len(set(train.class_names) & set(MODELNET40)) == 3
    assert train.is_fps_ordered
    source = opened("ModelNet40", modelnet, "test", num_stored=4)
    key = lambda sample: tuple(sample["points"].flatten().mul(1e4).round().tolist())  # noqa: E731
    known = {key(sample): sample["label"] for sample in source}
    for sample in test:
        assert MODELNET40[known[key(sample)]] == test.class_names[sample["label"]]
    assert len({key(sample) for sample in test}) == 60, "an object is drawn once"
    # The file says which objects they are, also of the part that is kept.
    ((origin, names),) = test.members
    key_of = {key(sample): sample["id"] for sample in source}
    assert origin["type"] == "ModelNet40" and names == [key_of[key(sample)] for sample in test]
    test.keep([5, 0])
    assert test.members[0][1] == [names[5], names[0]]


def test_published_code_can_read_made_folds(modelnet):
    """An ordinary unpickler, without anything of ours."""
    (path,) = make_folds(str(modelnet), settings=[(3, 2)], num_folds=1, num_stored=4)
    content = pickle.loads(path.read_bytes())
    points, label, _ = content["train"][0]
    assert type(points) is np.ndarray and points.shape == (4, 3) and label == 0 and len(content["test"]) == 60


def test_seed_decides(modelnet):
    def make(out, **options):
        paths = make_folds(str(modelnet), modelnet / out, [(3, 2)], num_stored=4, **options)
        return [path.read_bytes() for path in paths]

    first = make("a", num_folds=2)
    assert first[0] != first[1]
    assert make("b", num_folds=1) == first[:1]
    assert make("c", num_folds=1, seed=1) != first[:1]


@pytest.mark.parametrize(
    ("setting", "message"), [((3, 4), "4 objects of class .* train split, which has 3"), ((41, 1), "way is 41")]
)
def test_impossible_setting_leaves_nothing(modelnet, setting, message):
    with pytest.raises(InputError, match=message):
        make_folds(str(modelnet), settings=[(3, 2), setting], num_folds=1, num_stored=4)
    assert not (modelnet / "ModelNetFewshot").exists()


def test_test_objects_among_the_labelled_ones_are_refused(tmp_path):
    write(tmp_path, {"train": entries(6), "test": entries(9, start=4)})
    for split in ("train", "test"):
        with pytest.raises(InputError, match="2 of the 9 test objects of .*4.pkl' .* first 'object 0'"):
            build(tmp_path, split)


def test_survey(tmp_path):
    (survey,) = ModelNetFewShot.survey(str(tmp_path))
    assert (survey.found, survey.expected, survey.status) == (0, 40, "not found")
    assert survey.problem.endswith("5way10shot/0.pkl' is missing")
    for way, shots in ((5, 10), (5, 20), (10, 10), (10, 20)):
        for fold in range(10):
            path = write(tmp_path, b"", f"ModelNet/ModelNetFewshot/{way}way_{shots}shot", fold)
            os.truncate(path, 10_000_000)  # sparse
    assert ModelNetFewShot.survey(str(tmp_path))[0].status == "complete"
    os.truncate(tmp_path / "ModelNet/ModelNetFewshot/10way_10shot/3.pkl", 10)
    (survey,) = ModelNetFewShot.survey(str(tmp_path))
    assert survey.found == 39 and "3.pkl' has only 10 bytes" in survey.problem
