"""Opening a data set by its name: splits of classes that know nothing of splits, and of those that do."""

import sys
import textwrap

import pytest
import torch

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.opening import check_sizes, open_split
from pointrecon.datasets.splits import Choice
from pointrecon.utils.errors import InputError
from tests.datasets import opened

MODULE = """
import torch
from torch.utils.data import Dataset
from pointrecon.datasets.dataset import PointCloudDataset

class Plain(PointCloudDataset):
    has_folds = True

    def __init__(self, root, *, count=20, num_points=8):
        self.root, self.num_points = root, num_points
        super().__init__(
            ids=[f"o{row}" for row in range(count)],
            labels=[row % 2 for row in range(count)],
            split_of=["test" if row % 5 == 0 else "train" for row in range(count)],
            class_names=["even", "odd"],
        )

    def read(self, row):
        return self.sample(row, torch.full((self.num_points, 3), float(row)))

class Bare(Plain):
    published_splits = ()

    def __init__(self, root):
        PointCloudDataset.__init__(self, ids=["a", "b"])

class Chooser(PointCloudDataset):
    def __init__(self, root, split, fold=None, shots=None, val_fraction=0.0, seed=0, way=None, images=False):
        self.given = (split, fold, shots, val_fraction, seed, way, images)
        super().__init__(ids=[f"{split}{row}" for row in range(4)])

    def read(self, row):
        return self.sample(row, torch.zeros(8, 3))

class Ragged(Plain):
    def read(self, row):
        return self.sample(row, torch.zeros(8 + (row == 11), 3))

class Other(Dataset):
    def __init__(self, root):
        pass

class Broken(Plain):
    def read(self, row):
        return {"points": [1, 2, 3]}

class Nameless(Plain):
    def read(self, row):
        return {"points": torch.zeros(8, 3), "label": 0}
"""


@pytest.fixture(autouse=True)
def outside(tmp_path, monkeypatch):
    (tmp_path / "my_shapes.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_shapes", None)


def test_splits_of_a_class_from_outside(tmp_path):
    ids = {split: set(opened("my_shapes:Plain", tmp_path, split, val_fraction=0.25).ids) for split in ("train", "val")}
    ids |= {split: set(opened("my_shapes:Plain", tmp_path, split).ids) for split in ("test", "pretrain")}
    assert ids["test"] == {"o0", "o5", "o10", "o15"} and len(ids["val"]) == 4 and len(ids["train"]) == 12
    assert ids["train"] | ids["val"] == ids["pretrain"] and not ids["pretrain"] & ids["test"]
    folds = [set(opened("my_shapes:Plain", tmp_path, "test", fold=fold).ids) for fold in range(5)]
    assert sorted(name for fold in folds for name in fold) == sorted(f"o{row}" for row in range(20))
    few = opened("my_shapes:Plain", tmp_path, "train", shots=3, seed=1)
    assert few.labels.bincount().tolist() == [3, 3] and few.is_training
    assert len(opened("my_shapes:Plain", tmp_path, "pretrain", ratio=0.5)) == 8
    assert len(opened("my_shapes:Plain", tmp_path, "pretrain", whole=True)) == 20
    assert opened("my_shapes:Plain", tmp_path, "test", num_points=9)[1]["points"].shape == (9, 3)


def test_a_class_that_chooses_itself_is_asked_and_nothing_is_picked_again(tmp_path):
    choice = {"fold": 7, "shots": 3, "val_fraction": 0.5, "seed": 4, "way": 9}
    chooser = opened("my_shapes:Chooser", tmp_path, "test", images=True, **choice)
    assert chooser.given == ("test", 7, 3, 0.5, 4, 9, True) and list(chooser.ids) == [f"test{row}" for row in range(4)]


@pytest.mark.parametrize(
    ("name", "split", "options", "message"),
    [
        ("my_shapes:Plain", "tset", {}, "did you mean 'test'"),
        ("my_shapes:Plain", "all", {}, "split is 'all'"),
        ("my_shapes:Plain", "train", {"images": True}, "has no pictures.*teachers.image=null"),
        ("my_shapes:Plain", "train", {"way": 5}, "data.way is 5"),
        ("my_shapes:Plain", "train", {"ratio": "half"}, "ratio is half"),
        ("my_shapes:Plain", "train", {"cuont": 5}, "did you mean 'count'"),
        ("my_shapes:Bare", "train", {}, "Bare has no labels"),
        ("my_shapes:Bare", "test", {}, "the split 'test' of Bare has no object"),
        ("my_shapes:Bare", "pretrain", {"fold": 0}, "fold is 0"),
        ("my_shapes:Other", "train", {}, "must derive from PointCloudDataset"),
        ("my_shapes:Missing", "train", {}, "cannot be imported"),
        ("no_such_module:X", "train", {}, "cannot be imported"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path, name, split, options, message):
    with pytest.raises(InputError, match=message):
        opened(name, tmp_path, split, **options)


@pytest.mark.parametrize(
    ("name", "num_points", "message"),
    [
        ("Plain", 9, "data.num_points is 9, but the clouds of Plain have 8 points"),
        ("Ragged", 8, "the clouds of Ragged differ in size: 'o0' has 8 points and 'o11' 9"),
        ("Broken", 8, "object 0 of Broken has as points list"),
        ("Nameless", 8, "object 0 of Nameless must have an id"),
    ],
)
def test_samples_are_looked_at_before_a_run(tmp_path, name, num_points, message):
    dataset = opened(f"my_shapes:{name}", tmp_path, "pretrain", whole=True)
    with pytest.raises(InputError, match=message):
        check_sizes(dataset, num_points)


def test_only_a_class_of_its_own_can_be_read_twice():
    with pytest.raises(TypeError, match="abstract"):
        PointCloudDataset(ids=["a"])
    assert torch.is_tensor(opened("RandomShapes", "", "train", num_shapes=3)[0]["points"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Shards", {"num_lanes": "abc"}, "data.options.num_lanes is 'abc', but Shards takes a whole number"),
        ("Shards", {"buffer": {}}, "data.options.buffer is {}, but Shards takes a whole number"),
        ("Shards", {"buffer": True}, "data.options.buffer is True, but Shards takes a whole number"),
        ("Shards", {"folder": None}, "data.options.folder is None, but Shards takes a text"),
        ("Shards", {"cache_root": 3}, "data.options.cache_root is 3, but Shards takes a text or null"),
        ("Folder", {"time_limit": "long"}, "data.options.time_limit is 'long', but Folder takes a number"),
        ("Folder", {"time_limit": float("nan")}, "data.options.time_limit is nan, but Folder takes a number"),
    ],
)
def test_options_of_another_type_are_refused(tmp_path, name, options, message):
    with pytest.raises(InputError) as error:
        open_split(name, str(tmp_path), Choice(split="pretrain"), options)
    assert str(error.value) == message
