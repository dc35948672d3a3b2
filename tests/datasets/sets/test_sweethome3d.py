"""The bundled data set: what is in it, that pretraining never sees a test object, and that bad files are refused."""

import csv
import pickle
import re
import shutil
from collections import Counter

import h5py
import numpy as np
import pytest
import torch

from pointrecon.datasets.sets.sweethome3d import SweetHome3D
from pointrecon.utils.errors import InputError
from tests import ROOT
from tests.datasets import opened

DATA = ROOT / "data"
FILE = DATA / "sweethome3d" / "sweethome3d.h5"


def field(name):
    with h5py.File(FILE) as file:
        return file[name][:]


@pytest.fixture
def small(tmp_path):
    """A file of twelve objects of three classes and `other`, and the data root it is in."""
    path = tmp_path / "sweethome3d" / "sweethome3d.h5"
    path.parent.mkdir()
    labels = np.array([0, 1, 2, 3] * 3, dtype=np.int16)
    with h5py.File(path, "w") as file:
        file["points"] = np.random.RandomState(0).randn(12, 16, 3).astype(np.float16)
        file["class"] = labels
        file["split"] = np.array([0] * 8 + [1] * 3 + [0], dtype=np.int8)
        for name in ("id", "name"):
            file.create_dataset(name, data=[f"{name}{row}" for row in range(12)], dtype=h5py.string_dtype())
        icons = file.create_dataset("icon_webp", (12,), dtype=h5py.vlen_dtype(np.uint8))
        for row in range(12):
            icons[row] = np.frombuffer(b"no picture", dtype=np.uint8)
        file.attrs["classes"] = ["bed", "desk", "lamp", "other"]
    return path


def change(path, edit):
    with h5py.File(path, "a") as file:
        edit(file)


def empty(file):
    """Leaves no object in any field."""
    for name in list(file):
        values = file.pop(name)
        file.create_dataset(name, (0, *values.shape[1:]), values.dtype)


def test_bundled_splits_have_the_documented_sizes():
    sizes = {split: len(opened("SweetHome3D", DATA, split)) for split in ("pretrain", "train", "test")}
    assert sizes == {"pretrain": 711, "train": 440, "test": 109}
    dataset = opened("SweetHome3D", DATA, "train", val_fraction=0.1)
    assert isinstance(dataset, SweetHome3D)
    assert len(dataset) + len(opened("SweetHome3D", DATA, "val", val_fraction=0.1)) == 440
    assert dataset.num_classes == 20 and dataset.class_names[0] == "appliance" and "other" not in dataset.class_names
    assert sorted(set(dataset.labels.tolist())) == list(range(20))


@pytest.mark.parametrize("fold", [None, 0, 1, 2, 3, 4])
def test_pretraining_never_sees_a_test_or_validation_object(fold):
    options = {"fold": fold, "val_fraction": 0.1}
    names = ("pretrain", "train", "val", "test")
    pretrain, train, val, test = (opened("SweetHome3D", DATA, split, **options) for split in names)
    held_out = set(val.ids) | set(test.ids)
    assert not held_out & set(pretrain.ids) and not held_out & set(train.ids) and not set(val.ids) & set(test.ids)
    assert len(held_out | set(pretrain.ids)) == 820
    assert set(train.ids) < set(pretrain.ids)
    assert sum(label == -1 for label in pretrain.labels.tolist()) == 271
    # The same by content: no cloud of a held-out object is in the pretraining tensor under another id.
    clouds = {cloud.tobytes() for cloud in pretrain.points.numpy()}
    assert not any(cloud.tobytes() in clouds for cloud in torch.cat([val.points, test.points]).numpy())


def test_folds_together_test_every_labelled_object_once():
    ids = [name for fold in range(5) for name in opened("SweetHome3D", DATA, "test", fold=fold, seed=fold).ids]
    assert len(ids) == len(set(ids)) == 549


def test_item_is_what_the_file_holds():
    dataset = opened("SweetHome3D", DATA, "test", images=True)
    sample = dataset[5]
    row = field("id").tolist().index(sample["id"].encode())
    assert set(sample) == {"points", "label", "text", "id", "image"}
    assert sample["points"].shape == (2048, 3) and sample["points"].dtype == torch.float32
    np.testing.assert_array_equal(sample["points"].numpy(), field("points")[row].astype(np.float32))
    assert dataset.class_names[sample["label"]] == field("class_name")[row].decode()
    assert sample["text"] == field("name")[row].decode()
    assert sample["image"].shape == (3, 128, 128) and sample["image"].dtype == torch.float32
    assert 0 <= sample["image"].min() and 0.9 < sample["image"].max() <= 1
    assert "image" not in opened("SweetHome3D", DATA, "test")[5]


def test_points_are_in_the_unit_sphere():
    radius = opened("SweetHome3D", DATA, "pretrain").points.norm(dim=-1).amax(1)
    assert radius.max() < 1.001 and radius.min() > 0.8


def test_text_is_the_objects_own_name():
    """Names are the catalogue's. Were they made from classes, there would be 20 of them."""
    dataset = opened("SweetHome3D", DATA, "pretrain")
    name_of = dict(zip(field("id").tolist(), field("name").tolist(), strict=True))
    assert all(sample["text"] == name_of[sample["id"].encode()].decode() for sample in dataset)
    assert len(set(dataset.names)) > 500
    assert sum("_" in name for name in dataset.names) == 0


def test_classes_are_readable():
    dataset = opened("SweetHome3D", DATA, "test")
    texts = dict(zip(dataset.class_names, dataset.class_texts, strict=True))
    assert texts["socket_switch"] == "socket or switch" and texts["chair"] == "chair"


def test_shots():
    dataset = opened("SweetHome3D", DATA, "train", shots=5, seed=1)
    assert dataset.labels.bincount().tolist() == [5] * 20
    assert dataset.ids != opened("SweetHome3D", DATA, "train", shots=5, seed=2).ids
    with pytest.raises(InputError, match="class 'desk' has only 10"):
        opened("SweetHome3D", DATA, "train", shots=11)


def test_items_share_the_points_of_the_data_set():
    dataset = opened("SweetHome3D", DATA, "test")
    assert dataset[3]["points"].untyped_storage().data_ptr() == dataset[70]["points"].untyped_storage().data_ptr()
    assert torch.equal(dataset[3]["points"], dataset.points[3])
    assert len(pickle.loads(pickle.dumps(dataset))) == len(dataset)


def test_attribution_names_every_object_and_creator():
    folder = FILE.parent
    with open(folder / "ATTRIBUTION.tsv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    for column, name in (("id", "id"), ("name", "name"), ("creator", "creator"), ("licence", "licence")):
        assert [row[column] for row in rows] == [value.decode() for value in field(name)]
    text = re.sub(r"\s+", " ", (folder / "ATTRIBUTION.md").read_text(encoding="utf-8"))
    for (_, creator), count in Counter((row["source"], row["creator"]) for row in rows).items():
        assert f"{creator} ({count})" in text
    for licence, count in Counter(row["licence"] for row in rows).items():
        assert f"(`{licence}`) | {count} |" in text


def test_missing_file_says_where_it_belongs(tmp_path):
    with pytest.raises(InputError, match=r"sweethome3d/sweethome3d\.h5.*comes with the repository"):
        SweetHome3D(tmp_path)


def test_truncated_file_is_refused(tmp_path):
    path = tmp_path / "sweethome3d" / "sweethome3d.h5"
    path.parent.mkdir()
    shutil.copy(FILE, path)
    with open(path, "r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(InputError, match="not a complete HDF5 file"):
        SweetHome3D(tmp_path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda file: file.pop("name"), "lacks 'name'"),
        (lambda file: file.attrs.pop("classes"), "damaged"),
        (lambda file: (file.pop("split"), file.create_dataset("split", data=[0, 1])), "damaged"),
        (lambda file: empty(file), "is damaged: points are .0, 16, 3. for 0 ids"),
        (lambda file: file["points"].__setitem__((1, 4), np.nan), "'id1' has NaN"),
        (lambda file: file["points"].__setitem__((4, 0, 0), np.inf), "'id4' has NaN or infinite"),
        (lambda file: file["points"].__setitem__(5, 0), "'id5' has all points at the origin"),
    ],
)
def test_damaged_file_is_refused(small, edit, message):
    SweetHome3D(small.parents[1])
    change(small, edit)
    with pytest.raises(InputError, match=message):
        SweetHome3D(small.parents[1])


def test_broken_picture_is_refused_when_it_is_asked_for(small):
    dataset = SweetHome3D(small.parents[1], images=True)
    with pytest.raises(InputError, match="picture of object 'id0'"):
        dataset[0]


def test_survey(tmp_path, small):
    (survey,) = SweetHome3D.survey(str(DATA))
    assert (survey.status, survey.found, survey.problem) == ("complete", 820, None)
    (survey,) = SweetHome3D.survey(str(small.parents[1]))
    assert (survey.status, survey.found) == ("incomplete", 12) and "teachers.h5" in survey.problem
    change(small, lambda file: file["points"].__setitem__((1, 4), np.nan))
    assert "'id1' has NaN" in SweetHome3D.survey(str(small.parents[1]))[0].problem
    (survey,) = SweetHome3D.survey(str(tmp_path / "nowhere"))
    assert survey.status == "not found" and "sweethome3d.h5" in survey.problem


def test_misspelt_option_is_refused():
    with pytest.raises(InputError, match="did you mean 'images'"):
        opened("SweetHome3D", DATA, "train", imges=True)
