"""Shards and indexes that say what cannot be: each is refused by name, when it is opened or when it is read."""

import io
import json
import tarfile

import numpy as np
import pytest

from pointrecon.datasets.opening import open_split
from pointrecon.datasets.shards.index import parse_npy, read_objects
from pointrecon.datasets.shards.shards import Shards
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


def test_shards_that_are_not_those_of_the_index(tmp_path):
    write_shards(tmp_path, "ours")
    folder = tmp_path / "shards" / "train"
    shard = min(folder.glob("*.tar"))
    (folder / "more.tar").write_bytes(shard.read_bytes())
    with pytest.raises(InputError, match=r"more\.tar' is not in '.*index\.json' \(1 such shards\)"):
        read_all(tmp_path)
    (folder / "more.tar").rename(folder / "more.tar.gz")
    with pytest.raises(InputError, match=r"more\.tar\.gz' is compressed \(1 such shards\); unpack them"):
        read_all(tmp_path)
    (folder / "more.tar.gz").unlink()
    shard.write_bytes(shard.read_bytes() + b"more")
    with pytest.raises(InputError, match="is not the one: it has"):
        read_all(tmp_path)


def test_a_shard_that_goes_away_while_it_is_read(tmp_path):
    write_shards(tmp_path, "ours")
    dataset = open_split("Shards", str(tmp_path), Choice(split="train"))
    for path in (tmp_path / "shards" / "train").glob("*.tar"):
        path.unlink()
    with pytest.raises(InputError, match="cannot be opened.*No such file"):
        dataset[len(dataset) - 1]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"num_samples": 7, "about": {"num_points": 16}}, "are not all there: 6 samples"),
        ([1], "are not all there: 6 samples"),
        ({"about": {"num_points": 99}}, None),  # of an earlier version
    ],
)
def test_a_plan_of_samples_that_are_not_there(tmp_path, plan, message):
    write_shards(tmp_path, "ours")
    folder = tmp_path / "shards" / "train"
    points = read_all(tmp_path)[0]["points"]
    (folder / "index.json").unlink()
    (folder / "plan.json").write_text(json.dumps(plan))
    if message is None:
        assert (read_all(tmp_path)[0]["points"] == points).all()
        return
    with pytest.raises(InputError, match=message):
        read_all(tmp_path)


@pytest.mark.parametrize("values", [np.arange(6.0), np.zeros((2, 3), np.int64), None])
def test_numbers_of_objects_that_are_none(tmp_path, values):
    path = tmp_path / "objects.npy"
    assert read_objects(tmp_path) is None
    np.save(path, np.arange(4))
    assert read_objects(tmp_path).tolist() == [0, 1, 2, 3]
    if values is None:
        path.write_bytes(path.read_bytes()[:-9])
    else:
        np.save(path, values)
    with pytest.raises(InputError, match=r"objects\.npy' is damaged.*make the shards again"):
        read_objects(tmp_path)


@pytest.mark.parametrize("notes", [b"[]", b"{", b'{"id": 3}', b'{"label": true}', b'{"text": null}', b"[" * 9000])
def test_notes_that_are_none(tmp_path, notes):
    write_foreign(tmp_path / "shards" / "train", notes)
    with pytest.raises(InputError, match="sample 0 in shard '.*x.tar' has (no valid JSON|{)"):
        read_all(tmp_path)


def test_labels_and_defaults_of_notes(tmp_path):
    write_foreign(tmp_path / "shards" / "train", b"{}")
    (sample,) = read_all(tmp_path)
    assert (sample["id"], sample["label"], sample["text"]) == ("x-0", -1, "")
    assert Shards(str(tmp_path), "train").labels.tolist() == [-1]


def write_foreign(folder, notes):
    folder.mkdir(parents=True)
    file = io.BytesIO()
    np.save(file, np.random.RandomState(0).randn(8, 3).astype(np.float32))
    with tarfile.open(folder / "x.tar", "w") as tar:
        for name, data in (("0.points.npy", file.getvalue()), ("0.json", notes)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_an_array_of_another_version():
    with pytest.raises(InputError, match=r"its format is version 3\.0"):
        parse_npy(b"\x93NUMPY\x03\x00" + bytes(100), "it")


def test_a_header_that_ends_in_a_bracket():
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3"
    with pytest.raises(InputError, match="is no array of numbers"):
        parse_npy(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text, "it")
