"""ScanObjectNN in the layout of its release, in miniature."""

import pickle
import shutil

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pointrecon.datasets.sets.scanobjectnn import VARIANTS, ScanObjectNN
from pointrecon.utils.errors import InputError
from tests.datasets import opened

NUM_CLASSES = 15
PER_CLASS = {"training": 4, "test": 1}


def make_file(path, part, seed, **storage):
    labels = np.tile(np.arange(NUM_CLASSES), PER_CLASS[part])
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        points = 3 + np.random.RandomState(seed).randn(len(labels), 8, 3)
        file.create_dataset("data", data=points.astype(np.float32), **storage)
        file.create_dataset("label", data=labels.astype(np.int32), **storage)
        file["mask"] = np.full((len(labels), 8), -1)


@pytest.fixture
def root(tmp_path):
    for number, (folder, ending, *_) in enumerate(VARIANTS.values()):
        for part in PER_CLASS:
            seed = 10 * number + (part == "test")
            make_file(tmp_path / "ScanObjectNN" / folder / f"{part}_{ending}", part, seed)
    return tmp_path


def training_file(root, variant="pb_t50_rs"):
    folder, ending, *_ = VARIANTS[variant]
    return root / "ScanObjectNN" / folder / f"training_{ending}"


def change(path, edit):
    with h5py.File(path, "a") as file:
        edit(file)


def replace(name, values):
    def edit(file):
        del file[name]
        file[name] = values

    return edit


@pytest.mark.parametrize(
    ("variant", "place"),
    [
        ("obj_bg", "main_split/{}_objectdataset.h5"),
        ("obj_only", "main_split_nobg/{}_objectdataset.h5"),
        ("pb_t50_rs", "main_split/{}_objectdataset_augmentedrot_scale75.h5"),
    ],
)
def test_variants_are_read_from_their_files(root, variant, place):
    for split, part in (("train", "training"), ("test", "test")):
        with h5py.File(root / "ScanObjectNN" / place.format(part)) as file:
            points, labels = file["data"][:], file["label"][:]
        dataset = opened("ScanObjectNN", root, split, variant=variant)
        assert dataset.labels.tolist() == labels.tolist() and dataset.labels.dtype == torch.int64
        np.testing.assert_array_equal(torch.stack([sample["points"] for sample in dataset]).numpy(), points)
        assert dataset[3]["points"].dtype == torch.float32


def test_item(root):
    dataset = opened("ScanObjectNN", root, "test", seed=3, val_fraction=0.1)
    assert dataset.num_classes == 15 and dataset.class_names[0] == "bag" and dataset.class_names[-1] == "toilet"
    sample = dataset[1]
    assert set(sample) == {"points", "label", "text", "id"}
    assert (sample["label"], sample["text"], sample["id"]) == (1, "bin", "pb_t50_rs-test-00001")
    assert sample["points"].mean() > 2  # as stored: not moved to the origin
    assert dataset.published_class_names == [*dataset.class_names[:-1], "toile"]


def test_splits_are_disjoint_and_complete(root):
    options = {"val_fraction": 0.25, "seed": 1}
    names = ("train", "val", "test", "pretrain", "all")
    parts = {split: opened("ScanObjectNN", root, split, **options) for split in names}
    sizes = {split: len(dataset) for split, dataset in parts.items()}
    assert sizes == {"train": 45, "val": 15, "test": 15, "pretrain": 45, "all": 75}
    ids = {split: set(dataset.ids) for split, dataset in parts.items()}
    assert ids["train"] | ids["val"] | ids["test"] == ids["all"] and len(ids["all"]) == 75
    assert ids["train"] == ids["pretrain"]
    assert parts["val"].labels.bincount().tolist() == [1] * 15
    assert len(opened("ScanObjectNN", root, "train")) == 60
    # What is said of an object in `all` is what is said of it in its own split.
    for split in ("train", "val", "test"):
        for sample in parts[split]:
            other = parts["all"][parts["all"].ids.index(sample["id"])]
            assert torch.equal(sample["points"], other["points"]) and sample["label"] == other["label"]


def test_shots(root):
    dataset = opened("ScanObjectNN", root, "train", shots=2, seed=1)
    assert dataset.labels.bincount().tolist() == [2] * 15
    assert dataset.ids != opened("ScanObjectNN", root, "train", shots=2, seed=2).ids
    with pytest.raises(InputError, match="class 'bag' has only 4"):
        opened("ScanObjectNN", root, "train", shots=5)


@pytest.mark.parametrize("folder", ["ScanObjectNN/h5_files", "h5_files"])
def test_folder_of_the_release_is_accepted(root, folder):
    expected = opened("ScanObjectNN", root, "train")[5]["points"]
    shutil.move(root / "ScanObjectNN", root / "moved")
    (root / folder).parent.mkdir(exist_ok=True)
    shutil.move(root / "moved", root / folder)
    assert torch.equal(opened("ScanObjectNN", root, "train")[5]["points"], expected)


def test_compressed_files_give_the_same(root):
    expected = [sample["points"] for sample in opened("ScanObjectNN", root, "train")]
    make_file(training_file(root), "training", 20, compression="gzip", chunks=True)
    actual = [sample["points"] for sample in opened("ScanObjectNN", root, "train")]
    assert torch.equal(torch.stack(actual), torch.stack(expected))


def test_workers_read_for_themselves(root):
    dataset = opened("ScanObjectNN", root, "test")
    dataset[0]
    assert len(pickle.dumps(dataset)) < 10_000
    batches = list(DataLoader(dataset, batch_size=4, num_workers=1))
    assert torch.equal(torch.cat([batch["points"] for batch in batches]), torch.stack([x["points"] for x in dataset]))


def test_missing_file_says_where_it_comes_from(root):
    training_file(root).unlink()
    with pytest.raises(InputError, match=r"main_split/training_objectdataset_augmentedrot_scale75\.h5.*hkust-vgd"):
        ScanObjectNN(root)
    opened("ScanObjectNN", root, "test")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda file: file.pop("data"), "lacks 'data'; it holds: label, mask"),
        (lambda file: file.pop("label"), "lacks 'label'"),
        (replace("data", np.zeros((60, 8, 4), dtype=np.float32)), r"\(60, 8, 4\) float32, but must be"),
        (replace("data", np.zeros((60, 8), dtype=np.float32)), r"\(60, 8\) float32, but must be"),
        (replace("data", np.zeros((60, 8, 3), dtype=np.int32)), "int32, but must be"),
        (replace("label", np.arange(59) % 15), "there are 60 objects"),
        (replace("label", np.arange(60) % 16), "object 15 .* has label 15, but labels are 0 to 14"),
        (replace("label", -np.ones(60, dtype=np.int64)), "object 0 .* has label -1"),
        (lambda file: file["data"].__setitem__((7, 2, 1), np.nan), r"object 7 .* NaN or infinite coordinates \(1 such"),
        (lambda file: file["data"].__setitem__((9, 2, 1), np.inf), "object 9 .* NaN or infinite"),
    ],
)
def test_damaged_file_is_refused_by_name(root, edit, message):
    change(training_file(root), edit)
    with pytest.raises(InputError, match=message) as caught:
        ScanObjectNN(root)
    assert "training_objectdataset_augmentedrot_scale75.h5" in str(caught.value)


def test_truncated_file_is_refused(root):
    with open(training_file(root), "r+b") as file:
        file.truncate(3000)
    with pytest.raises(InputError, match=r"scale75\.h5.*not a complete HDF5 file"):
        ScanObjectNN(root)


def test_columns_of_labels_are_read(root):
    change(training_file(root), replace("label", (np.arange(60) % 15)[:, None].astype(np.uint8)))
    assert opened("ScanObjectNN", root, "train").labels.tolist() == (np.arange(60) % 15).tolist()


def test_broken_objects_can_be_left_out(root, caplog):
    change(training_file(root), lambda file: file["data"].__setitem__((7, 2, 1), np.nan))
    dataset = opened("ScanObjectNN", root, "train", on_error="skip")
    assert len(dataset) == 59 and dataset.num_skipped == 1
    assert "pb_t50_rs-train-00007" not in dataset.ids and "pb_t50_rs-train-00008" in dataset.ids
    assert all(sample["points"].isfinite().all() for sample in dataset)
    assert "object 7" in caplog.text


def test_all_needs_clouds_of_one_size(root):
    change(training_file(root), replace("data", np.ones((60, 9, 3), dtype=np.float32)))
    with pytest.raises(InputError, match="equally many points"):
        opened("ScanObjectNN", root, "all")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "hardest"}, "variant is 'hardest', but must be one of: obj_bg, obj_only, pb_t50_rs"),
        ({"split": "validation"}, "split is 'validation'"),
        ({"split": "val"}, "val_fraction is 0"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"fold": 0}, "ScanObjectNN has none"),
        ({"images": True}, "no pictures"),
    ],
)
def test_arguments_out_of_range_are_refused(root, options, message):
    with pytest.raises(InputError, match=message):
        opened("ScanObjectNN", root, **{"split": "train", **options})


def test_test_objects_in_the_training_file_are_refused(root, caplog):
    with h5py.File(training_file(root).with_name("test_objectdataset_augmentedrot_scale75.h5")) as file:
        points = file["data"][:]
    change(training_file(root), lambda file: file["data"].__setitem__(slice(3, 6), points[10:13]))
    for split in ("train", "test", "all"):
        with pytest.raises(InputError, match="3 of the 15 test objects of .*test_object.* first 'object 10'"):
            opened("ScanObjectNN", root, split)
    assert len(opened("ScanObjectNN", root, "train", variant="obj_bg")) == 60


def test_clouds_that_float32_would_move_are_refused(root):
    with h5py.File(training_file(root)) as file:
        points = file["data"][:].astype(np.float64)
    points[7] += 1e7
    change(training_file(root), replace("data", points))
    with pytest.raises(InputError, match="object 7 .* float32 would move its points"):
        opened("ScanObjectNN", root, "train")
    assert len(opened("ScanObjectNN", root, "train", on_error="skip")) == 59


def test_survey(root):
    training_file(root, "obj_only").unlink()
    training_file(root, "pb_t50_rs").write_bytes(b"<html>")
    surveys = {item.name: item for item in ScanObjectNN.survey(str(root))}
    assert {name: item.found for name, item in surveys.items()} == {
        "ScanObjectNN OBJ_BG": 75,
        "ScanObjectNN OBJ_ONLY": 15,
        "ScanObjectNN PB_T50_RS": 15,
    }
    assert surveys["ScanObjectNN OBJ_BG"].expected == 2890 and surveys["ScanObjectNN PB_T50_RS"].expected == 14298
    assert "60 objects, but 2,309" in surveys["ScanObjectNN OBJ_BG"].problem
    assert "there is no" in surveys["ScanObjectNN OBJ_ONLY"].problem
    assert "not a complete HDF5 file" in surveys["ScanObjectNN PB_T50_RS"].problem


def test_survey_of_nothing(tmp_path):
    assert {item.status for item in ScanObjectNN.survey(str(tmp_path))} == {"not found"}
