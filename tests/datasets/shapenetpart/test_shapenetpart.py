"""ShapeNetPart in miniature: splits, part labels that stay with their points, resampling to one size."""

import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pointrecon.datasets.shapenetpart.files import CATEGORIES, FOLDER
from pointrecon.datasets.shapenetpart.shapenetpart import ShapeNetPart
from pointrecon.utils.errors import InputError
from tests.datasets import opened

SIZES = {"train": 3, "val": 1, "test": 2}  # objects a category
NUM_POINTS = 24


def num_stored(number):
    """More points than are asked for, just as many, fewer."""
    return (40, NUM_POINTS, 10)[number % 3]


@pytest.fixture
def root(tmp_path):
    """Objects whose points say which they are: x is the row and y the part label, until they are put in the sphere."""
    folder = tmp_path / FOLDER
    (folder / "train_test_split").mkdir(parents=True)
    synsets = {name: f"{number:08d}" for number, name in enumerate(CATEGORIES, start=1)}
    # Not in the order of the labels.
    lines = [f"{name}\t{synset}\n" for name, synset in reversed(synsets.items())]
    (folder / "synsetoffset2category.txt").write_text("".join(lines))
    number = 0
    for split, size in SIZES.items():
        entries = []
        for name, synset in synsets.items():
            (folder / synset).mkdir(exist_ok=True)
            for _ in range(size):
                count = num_stored(number)
                part = np.resize(list(CATEGORIES[name]), count)
                zeros = np.zeros(count)
                rows = np.stack([np.arange(count), part, zeros + number, zeros, zeros, zeros + 1, part], axis=1)
                np.savetxt(folder / synset / f"{number:04x}.txt", rows, fmt="%.6f")
                entries.append(f"shape_data/{synset}/{number:04x}")
                number += 1
        (folder / "train_test_split" / f"shuffled_{split}_file_list.json").write_text(json.dumps(entries))
    return tmp_path


def make(root, split="train", **options):
    return opened("ShapeNetPart", root, split, num_points=NUM_POINTS, **options)


def test_splits_follow_the_published_lists(root):
    sizes = {split: len(make(root, split)) for split in ("train", "val", "test", "pretrain")}
    assert sizes == {"train": 64, "val": 16, "test": 32, "pretrain": 64}  # train: with the validation list
    options = {"val_fraction": 0.1}
    train, val, test = (set(make(root, split, **options).ids) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (48, 16, 32) and len(train | val | test) == 96
    assert set(make(root, "pretrain", **options).ids) == train
    assert set(make(root, "train").ids) == train | val


def test_attributes(root):
    dataset = opened("ShapeNetPart", root, "test")
    assert dataset.num_classes == 16 and dataset.class_names[:2] == ["Airplane", "Bag"]
    assert dataset.num_parts == 50 and dataset.parts_of_class[10] == [30, 31, 32, 33, 34, 35]
    assert dataset.labels.bincount().tolist() == [2] * 16 and dataset.num_points == 2048
    assert dataset[0]["points"].shape == (2048, 3)


@pytest.mark.parametrize(("split", "resample"), [("train", "fixed"), ("test", "fixed"), ("test", "random")])
def test_part_labels_stay_with_their_points(root, split, resample):
    dataset = make(root, split, resample=resample)
    for sample in dataset:
        assert sample["points"].shape == (NUM_POINTS, 3) and sample["points"].dtype == torch.float32
        assert sample["part"].dtype == torch.int64
        # In the unit sphere, y is still the part label, shifted and scaled.
        height, part = sample["points"][:, 1].double(), sample["part"].double()
        known = part.unique()
        assert len(known) == 1 or torch.corrcoef(torch.stack([height, part]))[0, 1] > 0.9999
        assert len(height.unique()) == len(known)
        assert set(sample["part"].tolist()) <= set(dataset.parts_of_class[sample["label"]])
        assert sample["text"] == dataset.class_texts[sample["label"]]


def test_clouds_are_in_the_unit_sphere_of_all_their_points(root):
    dataset = opened("ShapeNetPart", root, "test", num_points=40)
    for sample in dataset:
        count = num_stored(int(sample["id"].split("/")[1], 16))
        if count == 40:  # every stored point once
            torch.testing.assert_close(sample["points"].mean(dim=0), torch.zeros(3), atol=1e-6, rtol=0)
            torch.testing.assert_close(sample["points"].norm(dim=-1).max(), torch.tensor(1.0))
    drawn = [sample["points"].mean(dim=0).abs().max() for sample in make(root, "test")]
    assert max(drawn) > 1e-3  # a part of the points has another mean: it was not centred again


def test_batches_collate_and_workers_read_for_themselves(root):
    batch = next(iter(DataLoader(make(root), batch_size=64, num_workers=1)))
    assert batch["points"].shape == (64, NUM_POINTS, 3) and batch["part"].shape == (64, NUM_POINTS)


def test_training_draws_anew_and_follows_the_seed(root):
    dataset = make(root)
    torch.manual_seed(0)
    first, second = dataset[0]["points"], dataset[0]["points"]
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(dataset[0]["points"], first)
    # With replacement: 24 of 40 points, all different, would come up once in 10,000 times.
    assert any(len(dataset[0]["points"][:, 0].unique()) < NUM_POINTS for _ in range(3))


def test_evaluation_takes_the_same_points_each_time_and_none_twice(root):
    dataset = make(root, "test")
    state = torch.get_rng_state()
    for index, sample in enumerate(dataset):
        assert torch.equal(sample["points"], make(root, "test")[index]["points"])
        count = num_stored(int(sample["id"].split("/")[1], 16))
        assert len(sample["points"][:, 0].unique()) == min(count, NUM_POINTS)
    assert torch.equal(torch.get_rng_state(), state)
    # Not the first ones of the file, which may all lie on one side.
    large = [x for x in dataset if num_stored(int(x["id"].split("/")[1], 16)) == 40]
    assert large and all(x["points"][:, 0].max() > 0.3 for x in large)
    published = make(root, "test", resample="random")
    assert not torch.equal(published[0]["points"], published[0]["points"])


def test_shots(root):
    dataset = make(root, shots=2, seed=1)
    assert dataset.labels.bincount().tolist() == [2] * 16
    assert dataset.ids != make(root, shots=2, seed=2).ids
    with pytest.raises(InputError, match="class 'Airplane' has only 4"):
        make(root, shots=5)


def test_broken_objects_can_be_left_out(root):
    path = next((root / FOLDER / "00000004").glob("*.txt"))  # a car
    path.write_text("1 2 3\n")
    with pytest.raises(InputError, match=path.name):
        make(root)
    datasets = {split: make(root, split, on_error="skip") for split in ("train", "test")}
    assert sum(dataset.num_skipped for dataset in datasets.values()) == 1
    assert sum(map(len, datasets.values())) == 95
    assert all(not name.endswith(path.stem) for dataset in datasets.values() for name in dataset.ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "split is 'all'"),
        ({"resample": "first"}, "resample is 'first', but must be one of: fixed, random"),
        ({"num_points": 0}, "num_points is 0"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"fold": 0}, "ShapeNetPart has none"),
        ({"images": True}, "no pictures"),
    ],
)
def test_arguments_out_of_range_are_refused(root, options, message):
    with pytest.raises(InputError, match=message):
        opened("ShapeNetPart", root, **{"split": "train", **options})


def test_survey(root):
    (survey,) = ShapeNetPart.survey(str(root))
    assert (survey.found, survey.expected, survey.problem) == (96, 16881, None)
    assert not (root / FOLDER / "packed").exists()
    paths = sorted((root / FOLDER / "00000002").glob("*.txt"))
    paths[0].write_text("1 2 3\n")
    (survey,) = ShapeNetPart.survey(str(root))
    assert survey.found == 96 and paths[0].name in survey.problem
    paths[-1].unlink()
    (survey,) = ShapeNetPart.survey(str(root))
    assert survey.found == 95 and "there is no" in survey.problem and paths[-1].name in survey.problem


def test_survey_of_nothing(tmp_path):
    (survey,) = ShapeNetPart.survey(str(tmp_path))
    assert survey.status == "not found" and "synsetoffset2category.txt" in survey.problem
