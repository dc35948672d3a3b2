"""`data: {type: Folder, root: DIR}` in every task, with nothing else to prepare."""

import json

import h5py
import numpy as np
import pytest

from pointrecon.datasets.folder.convert import CACHE_NAME
from pointrecon.datasets.folder.folder import Folder
from pointrecon.datasets.folder.packed_file import read_packed, write_packed
from pointrecon.datasets.prompts import TEMPLATES
from pointrecon.datasets.teacher_cache.writer import ImageFeatures, TextFeatures, write_features
from pointrecon.utils.errors import InputError

STRETCH = {"ball": [1, 1, 1], "plate": [1, 0.1, 1], "rod": [0.1, 1, 0.1]}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Eight clouds each of three classes, with names that have blanks and letters beyond ASCII."""
    root = tmp_path_factory.mktemp("meine Körper")
    for number, (name, stretch) in enumerate(STRETCH.items()):
        (root / name).mkdir()
        for row in range(8):
            points = np.random.RandomState(10 * number + row).randn(100, 3)
            points = points / np.linalg.norm(points, axis=1, keepdims=True) * stretch
            colors = np.full((100, 3), row * 10)
            np.savetxt(root / name / f"ein größerer {name} {row}.xyz", np.hstack([points, colors]))
    return root


@pytest.fixture(scope="module")
def data_root(own):
    """The data root of `launch`: not used, since data.root is given."""
    return own / "nowhere"


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


SHARED = ("data.type=Folder", "data.options.up=y", "data.options.num_stored=64", "data.options.jobs=2")


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("pretrain", ("teachers.image=null", "teachers.text=null")),
        ("finetune", ("task=classify", "start=random")),
        ("linear", ("task=classify", "start=random", "classifier.head=linear", "classifier.freeze=backbone")),
        ("svm", ("task=evaluate", "epochs=0", "evaluators.svm={}")),
        ("embeddings", ("task=evaluate", "epochs=0", "evaluators.embeddings={}")),
    ],
)
def test_every_task_takes_a_folder(launch, own, task, changes):
    code, folder = launch(*SHARED, f"data.root={own}", "epochs=1", *changes, name=task)
    assert code == 0
    if task in ("finetune", "linear"):
        assert result_of(folder)["num_objects"] == 6
    if task == "svm":
        assert result_of(folder)["svm_num_objects"] == 6


def test_zero_shot_by_the_words_of_the_classes(launch, own):
    data = Folder(str(own), up="y", num_stored=64, jobs=2)
    random = np.random.RandomState(0)
    ids, names = list(data.ids), list(data.names)
    prompts = random.randn(len(set(names)), 2, 6).astype(np.float32)
    write_features(
        data.features_path,
        ImageFeatures(ids, [random.randn(len(ids), 2, 10).astype(np.float32)]),
        TextFeatures(
            ids,
            names,
            prompts,
            ["{}.", "A {}."],
            list(STRETCH),
            random.randn(3, 2, 6).astype(np.float32),
            ["{}.", "A {}."],
        ),
    )
    assert data.features_path == own / CACHE_NAME / "teachers.h5" and len(TEMPLATES) > 2
    root = f"data.root={own}"
    code, folder = launch(*SHARED, root, "epochs=1", name="teachers")
    assert code == 0
    start = folder / "ckpt-last.pth"
    evaluators = "evaluators.zero_shot={query: text}"
    code, folder = launch(*SHARED, root, "--ckpts", start, "task=evaluate", "epochs=0", evaluators, name="zero")
    assert code == 0 and result_of(folder)["zero_shot_num_objects"] == 6


def test_colours_and_pictures_come_along_where_they_are_asked_for(own):
    data = Folder(str(own), up="y", num_stored=64, jobs=2, colors=True, images=True)
    row = data.ids.index("rod/ein größerer rod 3.xyz")
    sample = data[row]
    assert sample["colors"].shape == (64, 3) and float(sample["colors"].min()) == pytest.approx(30 / 255)
    assert sample["image"].shape == (3, 128, 128)
    drawn = sample["image"].min(0).values < 0.6
    tall, wide = (np.ptp(np.flatnonzero(drawn.any(axis).numpy())) for axis in (1, 0))
    assert tall > 3 * wide, "a rod stands"
    assert (own / CACHE_NAME / "pictures-y.h5").is_file()
    again = Folder(str(own), up="y", num_stored=64, jobs=2, images=True)
    assert (again[row]["image"] == sample["image"]).all() and "colors" not in again[row]


def test_a_packed_file_is_a_data_set_too(own, tmp_path):
    path = tmp_path / "own.h5"
    cloud = np.random.RandomState(0).rand(32, 3).astype(np.float16)
    red = np.tile(np.array([255, 0, 0], np.uint8), (32, 1))
    about = {"ids": list("abcd"), "texts": ["x"] * 4, "labels": [0, 0, 1, -1], "splits": ["train", "test", "train", ""]}
    about["class_names"] = ["ball", "rod"]
    shapes = [(cloud, red if row else None, None) for row in range(4)]
    write_packed(path, shapes, about, num_points=32, has_colors=True, has_pictures=False)
    data = Folder(str(path), colors=True)
    assert list(data.split_of) == ["train", "test", "train", "train"] and data.labels.tolist() == [0, 0, 1, -1]
    assert (data[1]["points"].numpy() == cloud.astype(np.float32)).all() and data[1]["colors"][0].tolist() == [1, 0, 0]
    with pytest.raises(InputError, match="has no pictures"):
        Folder(str(path), images=True)
    with h5py.File(path, "a") as file:
        file["labels"][0] = 7
    with pytest.raises(InputError, match="is damaged"):
        read_packed(path)
    with h5py.File(path, "a") as file:
        for name in ("points", "colors", "labels", "ids", "texts", "splits"):
            values = file.pop(name)
            file.create_dataset(name, (0, *values.shape[1:]), values.dtype)
    with pytest.raises(InputError, match=r"own\.h5' is damaged: its lists do not fit its points \(0, 32, 3\)"):
        read_packed(path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["points"], file["ids"] = cloud, [1]
    with pytest.raises(InputError, match="no file of packed shapes"):
        Folder(str(tmp_path / "other.h5"))
