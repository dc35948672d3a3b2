"""OpenShape's objects for training: views, texts, colours, lists, neighbours, and what is wrong with them."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch

from pointrecon.datasets.loader import train_loader
from pointrecon.datasets.open.neighbours import write_neighbours
from pointrecon.datasets.open.objects import parse_object
from pointrecon.datasets.open.openshape import OpenShape
from pointrecon.datasets.open.shards import OpenShards
from pointrecon.datasets.opening import open_split
from pointrecon.datasets.resident import ResidentLoader
from pointrecon.datasets.splits import Choice
from pointrecon.tools.open.convert import convert
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.safe_pickle import load_npy_objects
from tests.datasets.open.layouts import MINI, save_objects

OBJECTS = MINI / "objaverse-processed"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with the miniature objects in shards, its lists and neighbours; not to be changed."""
    root = tmp_path_factory.mktemp("openshape")
    convert(OBJECTS, root / "openshape" / "shards", shard_size=4)
    shutil.copytree(MINI / "meta_data", root / "openshape" / "meta_data")
    write_neighbours(MINI / "meta_data" / "point_feat_knn.npy", OpenShards(root / "openshape" / "shards"))
    return root


@pytest.fixture
def copy(root, tmp_path):
    return shutil.copytree(root, tmp_path / "data")


def by_number(dataset):
    """Samples of Objaverse and ShapeNet by the last digit of their ids."""
    return {
        sample["id"][-1]: sample for sample in map(dataset.__getitem__, range(len(dataset))) if "abc00" in sample["id"]
    }


def test_the_list_without_lvis_is_the_default(root):
    assert len(OpenShape(root)) == 8 and len(OpenShape(root, objects="train_all")) == 10
    assert (
        len(OpenShape(root, objects=None)) == 10 and len(OpenShape(root, objects="ablation/train_shapenet_only")) == 2
    )
    assert {one[-1] for one in OpenShape(root, objects=None).ids if "abc00" in one} - set(
        by_number(OpenShape(root))
    ) == {
        "0",
        "2",
    }
    half = open_split("OpenShape", str(root), Choice(split="pretrain"), {"ratio": 0.5})
    assert len(half) == 4 and set(half.ids) < set(OpenShape(root).ids) and half.labels.tolist() == [-1] * 4
    with pytest.raises(InputError, match="split 'test' of OpenShape has no object"):
        open_split("OpenShape", str(root), Choice(split="test"))


def test_a_sample_has_what_its_file_has(root):
    samples = by_number(OpenShape(root, objects=None, captions="first"))
    for number, sample in samples.items():
        path = next(OBJECTS.rglob(f"*abc00{number}.npy"))
        one = parse_object(load_npy_objects(path), str(path))
        assert sample["id"].split("/")[-1] == path.stem and sample["points"].dtype == torch.float16
        np.testing.assert_allclose(sample["points"].float(), one.points, atol=1e-3)
        assert sample["colors"].dtype == torch.uint8
        np.testing.assert_allclose(sample["colors"].float() / 255, one.colors, atol=1 / 500)
        first = 0 if one.has_thumbnail else 1
        np.testing.assert_array_equal(sample["image_features"][first : first + len(one.views)], one.views)
        assert (sample["image_features"] != 0).any(dim=1).sum() == len(one.views)
    texts = {number: (sample["text_features"] != 0).any(dim=1).tolist() for number, sample in samples.items()}
    assert texts["0"] == [True] * 3 and texts["3"] == [False] * 3  # flagged, and nothing else
    assert texts["2"] == [False, True, False]  # the flagged name does not count
    assert by_number(OpenShape(root, captions="first", gpt4_filter=False))["3"]["text_features"][0].any()
    assert samples["0"]["text"] and not samples["3"]["text"]


def rows_seen(root, captions):
    """How many texts each object had over 40 reads."""
    dataset = OpenShape(root, objects=None, captions=captions)
    torch.manual_seed(0)
    seen = {}
    for _ in range(40):
        for row in range(10):
            sample = dataset[row]
            seen.setdefault(sample["id"].split("/")[-1], set()).add(
                int((sample["text_features"] != 0).any(dim=1).sum())
            )
    return seen


def test_published_captions_are_those_of_the_published_loader(root):
    expected = json.loads((MINI / "expected.json").read_text())["objects"]
    seen = rows_seen(root, "published")
    assert {one["id"]: set(one["published_text_rows"]) for one in expected} == seen
    drawn = rows_seen(root, "drawn")
    assert drawn == {one["id"]: {max(one["published_text_rows"])} for one in expected}


def test_names_and_captions_are_drawn(root):
    dataset = OpenShape(root, objects=None)
    row = next(row for row, name in enumerate(dataset.ids) if name.endswith("abc000"))
    seen = torch.stack([dataset[row]["text_features"] for _ in range(60)])
    assert len(seen[:, 0].unique(dim=0)) == 1  # the title
    assert len(seen[:, 1].unique(dim=0)) == 2 and len(seen[:, 2].unique(dim=0)) == 2
    named = next(row for row, name in enumerate(dataset.ids) if name.endswith("abc004"))
    assert len(torch.stack([dataset[named]["text_features"][0] for _ in range(60)]).unique(dim=0)) == 2


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_epoch_depends_on_its_number_alone(root, num_workers):
    def read(epoch, skip=0):
        loader = train_loader(OpenShape(root), 2, num_workers, seed=1)
        loader.sampler.epoch, loader.sampler.skip = epoch, skip
        return list(loader)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, again, later = read(3), read(3), read(3, skip=4)
    for one, other in zip(first[2:], later, strict=True):
        assert one["id"] == other["id"] and torch.equal(one["text_features"], other["text_features"])
    assert [batch["id"] for batch in first] == [batch["id"] for batch in again]
    assert first[0].keys() == {"points", "colors", "label", "text", "image_features", "text_features", "id"}
    assert first[0]["colors"].shape == (2, 64, 3) and first[0]["image_features"].shape == (2, 13, 16)
    assert sorted(name for batch in first for name in batch["id"]) == sorted(OpenShape(root).ids)
    assert [batch["id"] for batch in read(4)] != [batch["id"] for batch in first]


def test_fewer_points(root):
    assert OpenShape(root, num_points=16)[0]["points"].shape == (16, 3)
    with pytest.raises(InputError, match="have fewer than 65 points, first '.*' with 64"):
        OpenShape(root, num_points=65)


def test_objects_without_colour_and_with_eleven_views(tmp_path):
    folder = shutil.copytree(OBJECTS, tmp_path / "in")
    path = next(folder.rglob("*abc004.npy"))
    item = load_npy_objects(path)
    item.pop("rgb")
    item["image_feat"] = item["image_feat"][:11]
    save_objects(path, item)
    convert(folder, tmp_path / "openshape" / "shards")
    dataset = OpenShape(tmp_path, objects=None, gpt4_filter=False, color_fill=0.6)
    sample = by_number(dataset)["4"]
    assert (sample["colors"] == 153).all() and (sample["image_features"] != 0).any(dim=1).sum() == 11


def test_neighbours_follow_each_other(root):
    dataset = OpenShape(root, neighbours=1)
    near, ids = OpenShards(root / "openshape" / "shards"), dataset.ids
    order = dataset.epoch_order(0, 0)
    assert sorted(OpenShape(root).epoch_order(0, 0)) == list(range(8)) and len(order) == 8
    assert np.array_equal(order, dataset.epoch_order(0, 0)) and not np.array_equal(order, dataset.epoch_order(0, 1))
    table = load_npy_objects(MINI / "meta_data" / "point_feat_knn.npy")
    names = [str(name) for name in table["name"]]
    for one, other in order.reshape(-1, 2):
        own, follower = (ids[row].split("/")[-1] for row in (one, other))
        assert follower != own and names.index(follower) in table["index"][own]
    assert len(near) == 10


def test_it_lies_on_the_device_where_nothing_is_drawn(root):
    loader = train_loader(OpenShape(root, captions="first"), 4)
    resident = ResidentLoader(loader, CPU)
    for wanted, actual in zip(loader, resident, strict=True):
        assert wanted["id"] == actual["id"] and torch.equal(wanted["points"].float(), actual["points"])
        assert torch.equal(wanted["colors"], actual["colors"])
    with pytest.raises(InputError, match="device_resident"):
        ResidentLoader(train_loader(OpenShape(root), 4), CPU)


def test_objects_of_a_list_that_are_not_there(copy):
    path = copy / "openshape" / "meta_data" / "split" / "train_no_lvis.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([*rows, {**rows[0], "id": "gone"}]))
    with pytest.raises(InputError, match=r"1 of the 9 objects of '.*train_no_lvis.json' .* 'Objaverse/000-001/gone'"):
        OpenShape(copy)
    dataset = OpenShape(copy, on_error="skip")
    assert len(dataset) == 8 and dataset.num_skipped == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{}]", "has no 'dataset' and 'id'"),
        ("[]", "lists no object"),
        ('[{"dataset": "ABO", "id"', "no whole JSON"),
        ('[{"data_path": "/mnt/../../etc/passwd"}]', "leaves the data's folder"),
        ("3", "begins with '3'"),
        ("[] []", "goes on behind its end"),
        ('[{"id": "a", "dataset": "ABO"}] x', "goes on behind its end"),
        ('[{"id": "a", "dataset": "ABO"}; {"id": "b"}]', "';' in the place of a comma"),
        ('{"id" "a"}', "'id' has no value"),
        ('{"id": "a"}', "has no 'dataset' and 'id'"),
        ("[" + "9" * 3_000_000, "no whole JSON"),
    ],
)
def test_lists_that_are_none(copy, text, message):
    (copy / "openshape" / "meta_data" / "split" / "train_no_lvis.json").write_text(text)
    with pytest.raises(InputError, match=message):
        OpenShape(copy)


@pytest.mark.parametrize("text", ["[1]", '{"a": "N"}', '["a", {"flag": "N"}]'])
def test_flags_that_are_none(copy, text):
    (copy / "openshape" / "meta_data" / "gpt4_filtering.json").write_text(text)
    with pytest.raises(InputError, match="is no dict of flags by id"):
        OpenShape(copy)


def test_short_objects_are_left_out_when_asked(copy):
    dataset = OpenShape(copy, num_points=64, on_error="skip")
    assert len(dataset) == 8 and dataset.num_skipped == 0
    dataset.shards.num_points[2:] = 70
    rows = dataset._long_enough(np.arange(10), 70, True)
    assert rows.tolist() == list(range(2, 10)) and dataset.num_skipped == 2


def spoil(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def put(data, start, new):
    data[start : start + len(new)] = new


def test_damaged_shards_are_named(copy):
    folder = copy / "openshape" / "shards"
    path = next(folder.glob("*.safetensors"))
    whole = path.read_bytes()
    for change in (
        lambda data: put(data, 0, b"\xff" * 8),
        lambda data: put(data, 8, b"[" * 40),
        lambda data: put(data, data.index(b'"F16"'), b'"F32"'),
        lambda data: put(data, data.index(b'"ids'), b'"idz'),
        lambda data: put(data, data.index(b"data_offsets") + 15, b"9"),
    ):
        path.write_bytes(whole)
        spoil(path, change)
        with pytest.raises(InputError) as caught:
            OpenShape(copy)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
    path.write_bytes(whole[:-8])
    with pytest.raises(InputError, match="not there or not whole"):
        OpenShape(copy)


def test_other_features_than_the_manifest_says(copy):
    path = copy / "openshape" / "shards" / "manifest.json"
    path.write_text(path.read_text().replace('"width": 16', '"width": 1280'))
    with pytest.raises(InputError, match="features 16 and 16 wide, but its manifest says 1280"):
        OpenShape(copy)


@pytest.mark.parametrize(
    "means", [{}, None, {"image": [1.0], "text": [2.0]}, {"image": [1.0] * 16, "text": ["a"] * 16}]
)
def test_a_manifest_without_means(copy, means):
    path = copy / "openshape" / "shards" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "means": means}))
    with pytest.raises(InputError, match="manifest.json' has no mean of the (image|text) features"):
        OpenShape(copy)


def test_a_manifest_with_a_name_that_no_file_has(copy):
    path = copy / "openshape" / "shards" / "manifest.json"
    path.write_text(path.read_text().replace(".safetensors", "0128" * 70 + ".safetensors"))
    with pytest.raises(InputError, match="manifest.json' is damaged"):
        OpenShape(copy)


def test_neighbours_of_other_objects_and_none(copy, tmp_path):
    folder = copy / "openshape" / "shards"
    assert OpenShape(copy, neighbours=1)
    spoil(folder / "neighbours.safetensors", lambda data: put(data, data.index(b'"objects":"') + 11, b"x"))
    with pytest.raises(InputError, match="made for other objects"):
        OpenShape(copy, neighbours=1)
    (folder / "neighbours.safetensors").unlink()
    with pytest.raises(InputError, match="--neighbours point_feat_knn.npy"):
        OpenShape(copy, neighbours=1)
    for content, message in (({"name": []}, "'name' and 'index'"), ({"name": ["a"], "index": {"a": [5]}}, "not among")):
        save_objects(tmp_path / "knn.npy", content)
        with pytest.raises(InputError, match=message):
            write_neighbours(tmp_path / "knn.npy", OpenShards(folder))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"captions": "all"}, "data.options.captions"),
        ({"neighbours": -1}, "neighbours -1"),
        ({"objects": "train_none"}, "train_none.json"),
        ({"shards": "nowhere"}, "manifest.json"),
        ({"meta_data": "nowhere"}, "nowhere"),
        ({"meta_data": "nowhere", "objects": None}, "gpt4_filter=false"),
    ],
)
def test_wrong_options(root, options, message):
    with pytest.raises(InputError, match=message):
        OpenShape(root, **options)


def test_a_folder_without_shards_says_how_they_are_made(tmp_path):
    with pytest.raises(InputError, match=r"no converted objects in .*; make them with scripts/convert_op"):
        OpenShape(str(tmp_path))
