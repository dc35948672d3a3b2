"""ModelNet40 and ModelNet10 as data sets: splits, items, names, sharing among processes, and the survey."""

import os
import pickle
import shutil
import time

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pointrecon.datasets.modelnet.class_names import MODELNET10, MODELNET40
from pointrecon.datasets.modelnet.modelnet import ModelNet10, ModelNet40
from pointrecon.utils.errors import InputError
from tests.datasets import opened

NAMES = {40: MODELNET40, 10: MODELNET10}
COUNTS = {"train": 4, "test": 2}


def assert_in_sphere(points, stored):
    """The stored points, centred on their mean, the farthest one at radius 1."""
    centred = stored - stored.mean(axis=0)
    np.testing.assert_allclose(points.numpy(), centred / np.linalg.norm(centred, axis=1).max(), atol=1e-6)


def write(root, size=40, num_points=16, counts=COUNTS):
    """The .dat form with a few objects of every class; returns {part: clouds}."""
    folder = root / "ModelNet" / "modelnet40_normal_resampled"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"modelnet{size}_shape_names.txt").write_text("\n".join(NAMES[size]))
    clouds = {}
    for number, (part, count) in enumerate(counts.items()):
        ids = [f"{name}_{row + 1000 * number:04d}" for name in NAMES[size] for row in range(count)]
        labels = [np.array([NAMES[size].index(name.rpartition("_")[0])]) for name in ids]
        clouds[part] = np.random.RandomState(number).randn(len(ids), num_points, 6).astype(np.float32)
        (folder / f"modelnet{size}_{part}.txt").write_text("\n".join(ids))
        path = folder / f"modelnet{size}_{part}_{num_points}pts_fps.dat"
        path.write_bytes(pickle.dumps([list(clouds[part]), labels]))
    return clouds


@pytest.fixture
def clouds(tmp_path):
    return write(tmp_path)


def build(root, split="train", **options):
    return opened("ModelNet40", root, split, **{"num_stored": 16, **options})


def test_item(tmp_path, clouds):
    dataset = build(tmp_path, "test")
    sample = dataset[2 * 15 + 1]
    assert set(sample) == {"points", "label", "text", "id"}
    assert sample["points"].dtype == torch.float32
    assert_in_sphere(sample["points"], clouds["test"][31, :, :3])
    assert (sample["label"], sample["text"], sample["id"]) == (15, "flower pot", "flower_pot_1001")
    assert dataset.ids[31] == sample["id"] and dataset.names[31] == sample["text"] and dataset.labels[31] == 15
    assert dataset.labels.dtype == torch.int64 and dataset.is_fps_ordered and dataset.features_path is None
    assert dataset.num_skipped == 0 and dataset.num_classes == 40
    assert isinstance(dataset, ModelNet40)


def test_splits_are_disjoint_and_complete(tmp_path, clouds):
    splits = {name: set(build(tmp_path, name, val_fraction=0.25).ids) for name in ("train", "val", "test", "pretrain")}
    assert [len(splits[name]) for name in ("train", "val", "test", "pretrain")] == [120, 40, 80, 120]
    assert splits["pretrain"] == splits["train"] and not splits["train"] & splits["val"]
    assert not (splits["train"] | splits["val"]) & splits["test"]
    both = build(tmp_path, "all", val_fraction=0.25)
    assert set(both.ids) == splits["train"] | splits["val"] | splits["test"] and len(both) == 240
    assert_in_sphere(both[161]["points"], clouds["test"][1, :, :3])


def test_shots_and_seed(tmp_path, clouds):
    dataset = build(tmp_path, shots=2, seed=1)
    assert dataset.labels.bincount().tolist() == [2] * 40
    assert dataset.ids != build(tmp_path, shots=2, seed=2).ids
    row = build(tmp_path).ids.index(dataset.ids[7])
    assert_in_sphere(dataset[7]["points"], clouds["train"][row, :, :3])
    with pytest.raises(InputError, match="has only 4 training objects"):
        build(tmp_path, shots=5)


def test_class_names_and_texts(tmp_path, clouds):
    dataset = build(tmp_path)
    assert dataset.class_names == list(MODELNET40)
    texts = dict(zip(dataset.class_names, dataset.class_texts, strict=True))
    assert (texts["tv_stand"], texts["flower_pot"], texts["toilet"]) == ("tv stand", "flower pot", "toilet")


def test_ten_classes(tmp_path):
    write(tmp_path, size=10)
    dataset = opened("ModelNet10", tmp_path, "test", num_stored=16)
    assert dataset.class_names == list(MODELNET10) and dataset.num_classes == 10 and len(dataset) == 20
    assert dataset[13]["text"] == "night stand"


def test_hdf5_form_says_that_its_points_are_in_no_order(tmp_path):
    folder = tmp_path / "modelnet40_ply_hdf5_2048"
    folder.mkdir()
    (folder / "shape_names.txt").write_text("\n".join(MODELNET40))
    for part, count in COUNTS.items():
        (folder / f"{part}_files.txt").write_text(f"data/modelnet40_ply_hdf5_2048/{part}0.h5\n")
        with h5py.File(folder / f"{part}0.h5", "w") as file:
            file["data"] = np.random.RandomState(0).randn(40 * count, 20, 3).astype(np.float32)
            file["label"] = np.repeat(np.arange(40), count)[:, None].astype(np.uint8)
    dataset = build(tmp_path, "all")
    assert not dataset.is_fps_ordered and len(dataset) == 240 and dataset[0]["points"].shape == (20, 3)
    surveys = ModelNet40.survey(str(tmp_path)) + ModelNet10.survey(str(tmp_path))
    assert [(item.found, item.expected) for item in surveys] == [(240, 12308), (60, 4896)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 0}, "fold is 0, but ModelNet40 has none"),
        ({"split": "validation"}, "split is 'validation'"),
        ({"source": "zip"}, "data.options.source is 'zip'"),
        ({"on_error": "ignore"}, "data.on_error is 'ignore'"),
        ({"split": "val"}, "val_fraction is 0"),
        ({"images": True}, "has no pictures"),
    ],
)
def test_wrong_option_is_refused(tmp_path, clouds, options, message):
    with pytest.raises(InputError, match=message):
        build(tmp_path, **options)


def test_skipped_objects_are_counted(tmp_path, clouds):
    path = tmp_path / "ModelNet" / "modelnet40_normal_resampled" / "modelnet40_train_16pts_fps.dat"
    points, labels = pickle.loads(path.read_bytes())
    points[5] = points[5][:3]
    path.write_bytes(pickle.dumps([points, labels]))
    with pytest.raises(InputError, match=r"object 'bathtub_0001' in .*16pts_fps\.dat' has 3 points"):
        build(tmp_path)
    dataset = build(tmp_path, on_error="skip")
    assert dataset.num_skipped == 1 and len(dataset) == 159 and "bathtub_0001" not in dataset.ids
    assert_in_sphere(dataset[5]["points"], clouds["train"][6, :, :3])


def test_parts_of_different_forms_do_not_mix(tmp_path, clouds):
    folder = tmp_path / "ModelNet" / "modelnet40_normal_resampled"
    write(tmp_path / "other", num_points=8)
    os.replace(
        tmp_path / "other" / "ModelNet" / folder.name / "modelnet40_test_8pts_fps.dat",
        folder / "modelnet40_test_8pts_fps.dat",
    )
    (folder / "packed").mkdir()
    opened("ModelNet40", tmp_path, "test", num_stored=8)
    os.replace(folder / "packed" / "modelnet40_test_8.h5", folder / "packed" / "modelnet40_test_16.h5")
    with pytest.raises(InputError, match=r"modelnet40_train_16\.h5' and .*different classes or numbers of points"):
        build(tmp_path, "all")


def test_second_start_is_fast_and_workers_get_little(tmp_path):
    """As many objects as the real training split, of fewer points."""
    write(tmp_path, counts={"train": 246, "test": 1})
    build(tmp_path)
    start = time.perf_counter()
    dataset = build(tmp_path)
    assert time.perf_counter() - start < 2 and len(dataset) == 9840
    clouds = sum(part.clouds.shape[0] * 16 * 3 * 4 for part in dataset._parts)
    assert len(pickle.dumps([part.clouds for part in dataset._parts])) < 1000 < clouds


def test_worker_processes_read_the_same(tmp_path, clouds):
    loader = DataLoader(build(tmp_path, "test"), batch_size=40, num_workers=1, multiprocessing_context="fork")
    points = torch.cat([batch["points"] for batch in loader])
    for given, stored in zip(points, clouds["test"], strict=True):
        assert_in_sphere(given, stored[:, :3])


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_overlapping_lists_are_refused(tmp_path, split):
    """As when one list is a copy of the other."""
    write(tmp_path, counts={"train": 2, "test": 2})
    folder = tmp_path / "ModelNet" / "modelnet40_normal_resampled"
    for ending in (".txt", "_16pts_fps.dat"):
        shutil.copy(folder / f"modelnet40_test{ending}", folder / f"modelnet40_train{ending}")
    with pytest.raises(InputError, match="80 of the 80 test objects of ModelNet40 .* first 'airplane_1000'"):
        build(tmp_path, split)
    (folder / f"modelnet40_{'test' if split == 'train' else 'train'}.txt").unlink()
    if split != "all":
        assert len(build(tmp_path, split)) == 80, "one list alone"


def test_an_hdf5_file_in_both_lists_is_refused(tmp_path):
    folder = tmp_path / "modelnet40_ply_hdf5_2048"
    folder.mkdir()
    (folder / "shape_names.txt").write_text("\n".join(MODELNET40))
    with h5py.File(folder / "ply0.h5", "w") as file:
        file["data"] = np.random.RandomState(0).randn(80, 20, 3).astype(np.float32)
        file["label"] = np.repeat(np.arange(40), 2)[:, None].astype(np.uint8)
    for part in COUNTS:
        (folder / f"{part}_files.txt").write_text("data/modelnet40_ply_hdf5_2048/ply0.h5\n")
    with pytest.raises(InputError, match="80 of the 80 test objects of ModelNet40 .* first 'ply0-0000'"):
        build(tmp_path, "test")


def test_survey_of_nothing(tmp_path):
    (survey,) = ModelNet40.survey(str(tmp_path))
    assert (survey.name, survey.found, survey.expected, survey.status) == ("ModelNet40", 0, 12311, "not found")
    assert "no ModelNet40 (train)" in survey.problem and "https://" in survey.source
    assert ModelNet10.survey(str(tmp_path))[0].expected == 4899


def test_survey_of_dat(tmp_path):
    write(tmp_path, num_points=8192, counts={"train": 1, "test": 1})
    (survey,) = ModelNet40.survey(str(tmp_path))
    assert (survey.found, survey.status) == (80, "incomplete") and "lists name 80 objects" in survey.problem
    path = survey.folder / "modelnet40_test_8192pts_fps.dat"
    path.write_bytes(path.read_bytes()[:1_000_000])
    (survey,) = ModelNet40.survey(str(tmp_path))
    assert survey.found == 40 and "test_8192pts_fps.dat' has 1,000,000 bytes" in survey.problem
    (survey.folder / "modelnet40_shape_names.txt").unlink()
    assert "shape_names.txt' cannot be read" in ModelNet40.survey(str(tmp_path))[0].problem


def test_survey_of_txt_names_the_first_bad_file(tmp_path):
    write(tmp_path, counts={"train": 1, "test": 1})
    folder = tmp_path / "ModelNet" / "modelnet40_normal_resampled"
    for name in MODELNET40:
        (folder / name).mkdir()
        for number in (0, 1000):
            (folder / name / f"{name}_{number:04d}.txt").write_bytes(b" " * 100_000)
    assert ModelNet40.survey(str(tmp_path))[0].found == 80
    (folder / "car" / "car_0000.txt").write_bytes(b"")
    (folder / "tent" / "tent_0000.txt").unlink()
    (survey,) = ModelNet40.survey(str(tmp_path))
    assert survey.found == 78 and survey.problem.endswith("car_0000.txt' has only 0 bytes")
    (folder / "car" / "car_0000.txt").unlink()
    assert ModelNet40.survey(str(tmp_path))[0].problem.endswith("car_0000.txt' is missing")


def test_survey_of_packed_files_alone(tmp_path):
    write(tmp_path, num_points=8192, counts={"train": 1, "test": 1})
    opened("ModelNet40", tmp_path, "all")
    for path in (tmp_path / "ModelNet" / "modelnet40_normal_resampled").glob("*.dat"):
        path.unlink()
    assert ModelNet40.survey(str(tmp_path))[0].found == 80
