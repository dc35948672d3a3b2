"""Test samples that are training samples as well are found by the indices of the splits, whichever is opened."""

import numpy as np
import pytest

from pointrecon.datasets.shards.index import INDEX
from pointrecon.datasets.shards.shards import Shards
from pointrecon.tools.shards import encode_npy, write_split
from pointrecon.utils.errors import InputError


def write(root, split, seeds, **info):
    def encode(number):
        return {"points.npy": encode_npy(np.random.RandomState(seeds[number]).randn(8, 3).astype(np.float32))}

    names = [str(number) for number in range(len(seeds))]
    write_split(root / "shards" / split, split, encode, names, 2, {"num_points": 8, **info})


@pytest.mark.parametrize("opened", ["test", "train"])
def test_the_same_samples_are_refused(tmp_path, opened):
    write(tmp_path, "train", [1, 2, 3])
    write(tmp_path, "test", [4, 2, 5, 3])
    with pytest.raises(InputError, match="2 of the 4 samples in '.*/test' are in '.*/train' as well, first sample 1"):
        Shards(str(tmp_path), opened)


def test_what_may_be(tmp_path):
    write(tmp_path, "pretrain", [1, 2, 3], source={"whole": True})  # published pretraining sees the test list
    write(tmp_path, "train", [6, 7])
    write(tmp_path, "test", [4, 2, 5, 3])
    for split, count in (("pretrain", 3), ("train", 2), ("test", 4)):
        assert len(Shards(str(tmp_path), split)) == count


def test_a_checksum_that_is_the_same_by_chance_is_no_sample_that_is(tmp_path):
    write(tmp_path, "train", [1, 2])
    write(tmp_path, "test", [3, 4])
    path = tmp_path / "shards" / "test" / "index.npy"
    positions = np.load(path)
    positions[:, 9] = np.load(tmp_path / "shards" / "train" / "index.npy")[:, 9]
    np.save(path, positions)
    assert len(Shards(str(tmp_path), "train")) == 2


def test_a_broken_split_beside_it_is_said_when_it_is_opened(tmp_path):
    write(tmp_path, "train", [1])
    write(tmp_path, "test", [1])
    (tmp_path / "shards" / "test" / INDEX).write_text("{")
    assert len(Shards(str(tmp_path), "train")) == 1
    with pytest.raises(InputError, match="is not valid JSON"):
        Shards(str(tmp_path), "test")
