"""What all data sets share: keeping and leaving out objects, and what a data set must say of them."""

import pickle

import numpy as np
import pytest
import torch

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.utils.errors import InputError


class Toys(PointCloudDataset):
    """Whatever is given; a cloud says which object it is."""

    def __init__(self, count=6, **known):
        super().__init__(**{"ids": [f"toy{row}" for row in range(count)], **known})

    def read(self, row):
        return self.sample(row, torch.full((3, 3), float(row)))


def test_what_is_not_said_has_a_default():
    toys = Toys()
    assert len(toys) == 6 and toys.labels.tolist() == [-1] * 6 and list(toys.names) == [""] * 6
    assert toys.num_classes == toys.num_parts == toys.num_skipped == 0 and set(toys.split_of) == {"train"}
    assert toys.features_path is None and toys.carried == {} and toys.near_copies == () and toys.parts_of_class == ()
    assert not toys.is_fps_ordered and not toys.is_redrawn and toys.epoch_order(0, 0) is None and toys.survey("x") == []
    toys = Toys(labels=[0, 1, 1, -1, 0, 0], class_names=["night_stand", "car"])
    assert list(toys.names) == ["night stand", "car", "car", "", "night stand", "night stand"]
    assert toys.class_texts == ["night stand", "car"] and toys.published_class_names == toys.class_names


def test_objects_are_kept_in_turn_and_stay_what_they_are():
    toys = Toys(labels=range(6), class_names=list("abcdef"), split_of=["train"] * 4 + ["test"] * 2)
    toys.keep([5, 1, 3, 0])
    toys.keep(np.array([0, 2]))
    assert list(toys.ids) == ["toy5", "toy3"] and toys.labels.tolist() == [5, 3] and list(toys.names) == ["f", "d"]
    assert list(toys.split_of) == ["test", "train"] and len(toys) == 2
    for index, row in enumerate((5, 3)):
        sample = toys[index]
        assert sample["points"][0, 0] == sample["label"] == row and sample["id"] == f"toy{row}"
    with pytest.raises(IndexError):
        toys[2]
    assert [sample["id"] for sample in pickle.loads(pickle.dumps(toys))] == ["toy5", "toy3"]


def test_objects_are_left_out_and_counted():
    toys = Toys()
    toys.leave_out(["toy2", "toy9"])
    toys.leave_out(["toy5"])
    assert list(toys.ids) == ["toy0", "toy1", "toy3", "toy4"] and toys.num_skipped == 2
    assert [int(sample["points"][0, 0]) for sample in toys] == [0, 1, 3, 4]
    with pytest.raises(InputError, match="none of the 4 objects of Toys is left"):
        toys.leave_out(toys.ids)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"names": ["a"]}, "6 ids, 1 names"),
        ({"labels": [0] * 6}, "labels from 0 to 0, but with 0 classes"),
        ({"labels": [0, 1, 2, 0, 0, 0], "class_names": ["a", "b"]}, "labels from 0 to 2, but with 2 classes"),
        ({"labels": [-2] * 6, "class_names": ["a"]}, "labels from -2"),
        ({"ids": list("abcab")}, "2 objects twice, first 'a'"),
        ({"ids": list("abca"), "split_of": ["train", "train", "train", "test"]}, "1 objects both in train and in test"),
    ],
)
def test_what_does_not_fit_is_refused(known, message):
    with pytest.raises(InputError, match=message):
        Toys(**known)


def test_every_registered_data_set_has_the_base_class():
    kinds = [kind for name in DATASETS.names() if (kind := DATASETS.get(name)).__module__.startswith("pointrecon.")]
    assert len(kinds) >= 9 and all(issubclass(kind, PointCloudDataset) for kind in kinds)
