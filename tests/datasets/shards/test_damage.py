"""Shards and indexes that say what cannot be: each is refused by name, when it is opened or when it is read."""

import json

import numpy as np
import pytest

from pointrecon.datasets.opening import open_split
from pointrecon.datasets.shards.index import parse_npy
from pointrecon.datasets.splits import Choice
from pointrecon.utils.errors import InputError
from tests.fuzzing.targets.samples import write_shards


def read_all(root):
    dataset = open_split("Shards", str(root), Choice(split="train"))
    return [dataset[row] for row in range(len(dataset))]


CHANGES = {
    "a name that is none": lambda info: info["shards"][0].update(name=None),
    "names of classes": lambda info: info.update(class_names=5),
    "texts of other classes": lambda info: info.update(class_texts=["one"]),
    "points": lambda info: info.update(num_points="16"),
    "no class for a label": lambda info: info.update(class_names=["a"], class_texts=["a"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_index_that_cannot_be(tmp_path, name):
    write_shards(tmp_path, "ours")
    assert len(read_all(tmp_path)) == 6
    path = tmp_path / "shards" / "train" / "index.json"
    info = json.loads(path.read_text())
    CHANGES[name](info)
    path.write_text(json.dumps(info))
    with pytest.raises(InputError, match="do not fit each other|has the label 1|is damaged"):
        read_all(tmp_path)


def test_a_sample_without_points_by_the_index(tmp_path):
    write_shards(tmp_path, "ours")
    path = tmp_path / "shards" / "train" / "index.npy"
    positions = np.load(path)
    positions[2, 5] = 0  # the size of its points
    positions[2, 9] = 0
    np.save(path, positions)
    with pytest.raises(InputError, match="has no points.npy by the index|checksum"):
        read_all(tmp_path)


def test_a_header_that_ends_in_a_bracket():
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3"
    with pytest.raises(InputError, match="is no array of numbers"):
        parse_npy(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text, "it")
