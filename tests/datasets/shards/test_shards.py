"""Samples from shards: what comes out is what went in, and what is damaged is named."""

import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest
import torch

from pointrecon.datasets.loader import train_loader
from pointrecon.datasets.packed import places
from pointrecon.datasets.shards import index
from pointrecon.datasets.shards.index import INDEX, POSITIONS
from pointrecon.datasets.shards.shards import MAX_OPEN, Shards
from pointrecon.tools.shards import encode_npy, write_split
from pointrecon.utils.errors import InputError
from tests.datasets import opened

NUM_SAMPLES, SHARD_SIZE = 23, 4
MEAN = [0.0] * 5


def points_of(number):
    return np.random.RandomState(number).randn(16, 3).astype(np.float32)


def encode(number):
    notes = {"id": f"a/{number}", "label": number % 3 - 1, "text": f"thing {number}"}
    members = {"points.npy": encode_npy(points_of(number)), "json": json.dumps(notes).encode()}
    return {**members, "image.npy": encode_npy(np.full((2, 5), number, np.float16))}


@pytest.fixture
def root(tmp_path):
    info = {"num_points": 16, "class_names": ["x", "y"], "image": {"count": 2, "dim": 5, "mean": MEAN, "info": {}}}
    names = [f"a/{number}" for number in range(NUM_SAMPLES)]
    write_split(tmp_path / "shards" / "pretrain", "pretrain", encode, names, SHARD_SIZE, info)
    return tmp_path


def shard(root, number):
    return root / "shards" / "pretrain" / f"pretrain-{number:06d}.tar"


def test_samples_are_what_was_written(root):
    dataset = Shards(str(root))
    assert len(dataset) == NUM_SAMPLES and dataset.counts == [4, 4, 4, 4, 4, 3]
    assert dataset.class_names == dataset.class_texts == ["x", "y"] and dataset.num_classes == 2
    for number in (22, 0, 7):
        sample = dataset[number]
        assert torch.equal(sample["points"], torch.from_numpy(points_of(number)))
        assert (sample["id"], sample["text"], sample["label"]) == (f"a/{number}", f"thing {number}", number % 3 - 1)
        assert torch.equal(sample["image_features"], torch.full((2, 5), number, dtype=torch.float16))
    assert dataset.ids[:2] == ["a/0", "a/1"] and dataset.names[22] == "thing 22"


def test_other_processes_read_too(root):
    dataset = Shards(str(root))
    assert dataset[5]["id"] == "a/5"  # a file is open now
    again = pickle.loads(pickle.dumps(dataset))
    assert again[5]["id"] == "a/5" and len(pickle.dumps(dataset)) < 5000  # the index is not copied
    loader = train_loader(dataset, 5, num_workers=2)
    assert sorted(key for batch in loader for key in batch["id"]) == sorted(dataset.ids)


def test_few_files_are_open_at_once(root, monkeypatch):
    monkeypatch.setattr("pointrecon.datasets.shards.shards.MAX_OPEN", 2)
    dataset = Shards(str(root))
    assert [sample["id"] for sample in dataset] == dataset.ids and len(dataset._open) == 2 < MAX_OPEN


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_an_epoch_is_the_same_however_many_processes_and_workers_read_it(root, world_size):
    whole = [batch["id"] for batch in train_loader(Shards(str(root)), 6, drop_last=True)]
    assert len(whole) == 3
    parts = [
        list(train_loader(Shards(str(root)), 6 // world_size, rank, True, 0, rank, world_size))
        for rank in range(world_size)
    ]
    for number, ids in enumerate(whole):
        assert [parts[i % world_size][number]["id"][i // world_size] for i in range(6)] == ids


def test_an_epoch_goes_on_in_its_middle(root):
    loader = train_loader(Shards(str(root)), 5, seed=3)
    loader.sampler.epoch = 2
    whole = [key for batch in loader for key in batch["id"]]
    loader.sampler.skip = 10
    assert [key for batch in loader for key in batch["id"]] == whole[10:]
    loader.sampler.epoch = 3
    assert [key for batch in loader for key in batch["id"]] != whole


def test_a_missing_or_truncated_shard_is_named(root):
    content = shard(root, 2).read_bytes()
    shard(root, 2).write_bytes(content[:-700])
    with pytest.raises(InputError, match=r"pretrain-000002.tar' is truncated.*prepare_data.py shards"):
        Shards(str(root))
    shard(root, 2).unlink()
    with pytest.raises(InputError, match=r"pretrain-000002.tar' is missing"):
        Shards(str(root))


def test_a_changed_byte_is_noticed(root):
    dataset = Shards(str(root))
    offset = int(dataset._positions[6][1]) + 200
    with open(shard(root, 1), "r+b") as file:
        file.seek(offset)
        file.write(b"\xff\xfe")
    assert dataset[5]["id"] == "a/5"
    with pytest.raises(InputError, match=r"sample 6 in shard .*pretrain-000001.tar' is damaged"):
        dataset[6]


@pytest.mark.parametrize(
    ("column", "value"), [(0, 99), (0, -1), (1, 1 << 60), (1, -5), (5, 1 << 40), (5, -1), (6, 1 << 50)]
)
def test_an_index_that_lies_allocates_nothing(root, column, value):
    path = root / "shards" / "pretrain" / POSITIONS
    positions = np.load(path)
    positions[3, column] = value
    np.save(path, positions)
    with pytest.raises(InputError, match="the index"):
        Shards(str(root))[3]


@pytest.mark.parametrize(
    "change",
    [{"shards": []}, {"format": "x"}, {"shards": None}, {"image": {"count": -1, "dim": 5, "mean": MEAN}}, {"image": 3}]
    + [{"image": {"count": 2, "dim": 5, "mean": [1.0]}}, {"shards": [{"name": "../x", "bytes": 1, "num_samples": 23}]}],
)
def test_a_damaged_index_is_refused(root, change):
    path = root / "shards" / "pretrain" / INDEX
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError):
        Shards(str(root))


def test_features_of_another_shape_are_refused(root):
    path = root / "shards" / "pretrain" / INDEX
    known = {"count": 3, "dim": 5, "mean": MEAN, "info": {}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image": known}))
    with pytest.raises(InputError, match=r"image features of shape \(2, 5\).*\(3, 5\)"):
        Shards(str(root))[0]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"shots": 5}, "shots 5"),
        ({"images": True}, "pictures"),
        ({"fold": 0}, "fold is 0"),
        ({"ratio": 0.5}, "ratio 0.5"),
        ({"num_lanes": 0}, "num_lanes"),
        ({"split": "val", "val_fraction": 0.1}, "no shards in .*val"),
        ({"split": "test"}, "no shards in .*test.*prepare_data.py shards"),
    ],
)
def test_what_shards_do_not_have(root, options, hint):
    with pytest.raises(InputError, match=hint):
        opened("Shards", root, **{"split": "pretrain", **options})


def test_a_folder_without_an_index_gets_one(root):
    folder = root / "shards" / "pretrain"
    before = Shards(str(root)).ids
    for name in (INDEX, POSITIONS):
        (folder / name).unlink()
    dataset = Shards(str(root))
    assert dataset.ids == before and (folder / INDEX).is_file() and dataset.num_points == 16


def test_files_are_closed(root):
    dataset = Shards(str(root))
    dataset[0]
    (descriptor,) = dataset._open.values()
    del dataset
    with pytest.raises(OSError):
        os.fstat(descriptor)


def write_foreign(folder, sizes):
    """A shard as another program writes it: no index, no plan."""
    folder.mkdir(parents=True)
    with tarfile.open(folder / "x.tar", "w") as tar:
        for number, size in enumerate(sizes):
            data = encode_npy(np.random.RandomState(number).randn(size, 3).astype(np.float32))
            info = tarfile.TarInfo(f"{number:04d}.points.npy")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_clouds_of_several_sizes_are_found_out_before_a_run(tmp_path):
    write_foreign(tmp_path / "shards" / "pretrain", [16, 16, 17, 16])
    with pytest.raises(InputError, match="differ in size: sample 0 has 16 points and sample 2 17"):
        Shards(str(tmp_path))


def test_the_index_of_a_folder_that_cannot_be_written_is_kept_where_the_user_says(tmp_path, monkeypatch):
    folder = tmp_path / "shards" / "pretrain"
    write_foreign(folder, [16] * 5)
    made = []
    monkeypatch.setattr(index, "scan_shard", lambda path, scan=index.scan_shard: made.append(path) or scan(path))
    for _ in range(2):
        dataset = Shards(str(tmp_path), cache_root=str(tmp_path / "cache"))
        assert len(pickle.loads(pickle.dumps(dataset))) == 5 and len(made) == 1
    assert [path.name for path in folder.iterdir()] == ["x.tar"]
    monkeypatch.setattr(index, "is_writable", lambda path: False)
    monkeypatch.setattr(places, "is_writable", lambda path: False)
    assert len(Shards(str(tmp_path))) == 5 and len(made) == 2, "nothing can be remembered"


def test_samples_can_be_left_out(root):
    dataset = Shards(str(root))
    dataset.leave_out(["a/3", "a/20"])
    order = dataset.epoch_order(0, 1)
    assert len(dataset) == 21 and sorted(order) == list(range(21)) and dataset.num_skipped == 2
    whole = [key for key in Shards(str(root)).epoch_order(0, 1).tolist() if key not in (3, 20)]
    assert [dataset[row]["id"] for row in order.tolist()] == [f"a/{number}" for number in whole]


def test_features_that_are_no_numbers_are_refused(root):
    path = shard(root, 0)
    data = path.read_bytes()
    bad = np.full((2, 5), np.nan, np.float16).tobytes()
    path.write_bytes(data.replace(np.full((2, 5), 1, np.float16).tobytes(), bad))
    for name in (INDEX, POSITIONS):
        (root / "shards" / "pretrain" / name).unlink()
    with pytest.raises(InputError, match="image features that are no finite numbers"):
        Shards(str(root))[1]
