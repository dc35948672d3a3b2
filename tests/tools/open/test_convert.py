"""OpenShape's objects into shards and back; tar files, resuming, and objects that cannot be used."""

import dataclasses
import importlib.util
import json
import shutil
import tarfile

import numpy as np
import pytest

from pointrecon.datasets.open.objects import KINDS, parse_object
from pointrecon.datasets.open.shard_file import ARRAYS, read_layout
from pointrecon.datasets.open.shards import OpenShards, write_shard
from pointrecon.tools.open.convert import convert
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.safe_pickle import load_npy_objects
from tests import ROOT
from tests.datasets.open.layouts import MINI, save_objects

OBJECTS = MINI / "objaverse-processed"


@pytest.fixture
def objects():
    """By key, as they are read from their files."""
    files = sorted(OBJECTS.rglob("*.npy"))
    return {path.stem: parse_object(load_npy_objects(path), str(path)) for path in files}


def check(shards, objects):
    assert len(shards) == len(objects) == 10 and {shards[row].id for row in range(10)} == set(objects)
    for row in range(10):
        one, wanted = shards[row], objects[shards[row].id]
        assert (one.dataset, one.group, one.texts) == (wanted.dataset, wanted.group, wanted.texts)
        np.testing.assert_allclose(one.points, wanted.points, atol=1e-3)
        np.testing.assert_allclose(one.colors, wanted.colors, atol=1 / 500)
        assert one.has_thumbnail == wanted.has_thumbnail == (one.dataset == "Objaverse")
        for name in ("views", "kinds", "text_features"):
            np.testing.assert_array_equal(getattr(one, name), getattr(wanted, name))


def make_tar(path, folder=OBJECTS):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        archive.add(folder, "objaverse-processed")


def test_what_an_object_has(objects):
    counts = {name: [int((one.kinds == kind).sum()) for kind in range(4)] for name, one in objects.items()}
    assert KINDS == ("name", "blip", "msft", "retrieval")
    assert counts["00000000000000000000000000abc000"] == [1, 1, 1, 2]
    assert counts["00000000000000000000000000abc003"] == [1, 0, 0, 0]
    assert counts["00000000000000000000000000abc002"] == [1, 1, 0, 0]  # an empty caption's feature does not count
    raw = load_npy_objects(next(OBJECTS.rglob("*abc000.npy")))
    one = objects["00000000000000000000000000abc000"]
    np.testing.assert_array_equal(one.views[0], np.asarray(raw["thumbnail_feat"]).reshape(-1))
    np.testing.assert_array_equal(one.text_features[1], raw["blip_caption_feat"]["prompt_avg"][0])
    np.testing.assert_array_equal(one.text_features[3], raw["retrieval_text_feat"][0]["original"][0])


@pytest.mark.parametrize("jobs", [1, 2])
def test_folders_and_tar_files_become_shards(tmp_path, objects, jobs):
    made = convert(OBJECTS, tmp_path / "a", jobs=jobs, shard_size=1)
    assert made["width"] == 16 and made["counts"]["objects"] == 10 and made["counts"]["views"] == 10 * 12 + 4
    check(OpenShards(tmp_path / "a"), objects)
    make_tar(tmp_path / "in" / "Objaverse" / "000-000.tar.gz")
    made = convert(tmp_path / "in", tmp_path / "b", jobs=jobs, shard_size=4)
    assert [shard["count"] for shard in made["shards"]] == [4, 4, 2]
    assert made["shards"][0]["file"] == "Objaverse-000-000-000000.safetensors"
    check(OpenShards(tmp_path / "b"), objects)


def test_it_goes_on_where_it_stopped(tmp_path, objects):
    convert(OBJECTS, tmp_path, shard_size=1)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    shards = OpenShards(tmp_path)
    shards.files[0].unlink()  # as if the process had been killed before it wrote this
    with pytest.raises(InputError, match="not there or not whole"):
        OpenShards(tmp_path)
    convert(OBJECTS, tmp_path, shard_size=1)
    check(OpenShards(tmp_path), objects)
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    changed = {name for name in after if after[name] != before.get(name)}
    assert all("3D-FUTURE" in name or name == "manifest.json" for name in changed) and len(changed) == 4


class Hostile:
    def __reduce__(self):
        import os

        return os.system, ("touch ran",)


def spoil(folder, key, change):
    path = next(folder.rglob(f"*{key}.npy"))
    item = load_npy_objects(path)
    change(item)
    save_objects(path, item)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda item: item.pop("image_feat"), "no 'image_feat'"),
        (lambda item: item.update(image_feat=np.zeros((12, 8), np.float16)), "of width 16|of width 8"),
        (lambda item: item.update(image_feat=np.zeros((14, 16), np.float16)), "14 views"),
        (lambda item: item.update(xyz=np.full((64, 3), np.nan, np.float32)), "NaN"),
        (lambda item: item.update(xyz=np.zeros((0, 3), np.float32)), "no points"),
        (lambda item: item.update(text=["a"], text_feat=[]), "other numbers of name texts"),
        (lambda item: item.update(blip_caption="x", blip_caption_feat={}), "no feature 'prompt_avg'"),
        (lambda item: item.update(extra=Hostile()), "is refused"),
        (lambda item: item.update(thumbnail_feat=np.full(16, np.inf, np.float16)), "not finite"),
    ],
)
def test_objects_that_cannot_be_used(tmp_path, change, message):
    folder = shutil.copytree(OBJECTS, tmp_path / "in")
    spoil(folder, "abc001", change)
    with pytest.raises(InputError, match=message) as caught:
        convert(folder, tmp_path / "out")
    assert "abc001.npy" in str(caught.value)
    made = convert(folder, tmp_path / "out", is_lenient=True)
    assert made["counts"]["objects"] == 9 and sum(made["skipped"].values()) == 1


def test_eleven_views_no_colour_and_no_text_are_objects(tmp_path):
    folder = shutil.copytree(OBJECTS, tmp_path / "in")
    spoil(folder, "abc004", lambda item: (item.pop("rgb"), item.update(image_feat=item["image_feat"][:11])))
    spoil(folder, "abc005", lambda item: item.update(text=[], text_feat=[], retrieval_text=[]))
    made = convert(folder, tmp_path / "out", shard_size=5)
    assert made["counts"]["without_text"] == 1 and made["counts"]["without_colour"] == 1
    found = {one.id[-3:]: one for one in map(OpenShards(tmp_path / "out").__getitem__, range(10))}
    assert found["004"].colors is None and len(found["004"].views) == 11 and not found["004"].has_thumbnail
    assert found["005"].texts == [] and found["005"].text_features.shape == (0, 16)


def test_the_program(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("convert_openshape", ROOT / "scripts" / "convert_openshape.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["convert_openshape.py", *map(str, arguments)])
        return program.exit_code(program.main), *capsys.readouterr()

    code, out, _ = call(OBJECTS, "--out", tmp_path / "out")
    assert code == 0 and out.startswith("10 objects in 7 shards") and "1 without text" not in out
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]["objects"] == 10
    make_tar(tmp_path / "in" / "a.tar.gz")
    data = (tmp_path / "in" / "a.tar.gz").read_bytes()
    (tmp_path / "in" / "a.tar.gz").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ((tmp_path / "in", "--out", tmp_path / "b"), "a.tar.gz' is no whole tar file"),
        ((tmp_path / "empty", "--out", tmp_path / "b"), "neither tar files"),
        ((OBJECTS, "--out", tmp_path / "b", "--jobs", "0"), "at least 1"),
    ):
        code, out, err = call(*arguments)
        assert code == 2 and not out and message in err and err.count("\n") == 1


def test_another_source_of_the_same_name_is_converted(tmp_path, objects):
    for name, kept in (("first", "abc000"), ("second", "abc002")):
        (tmp_path / name / "part").mkdir(parents=True)
        shutil.copy(next(OBJECTS.rglob(f"*{kept}.npy")), tmp_path / name / "part")
    for name, kept in (("first", "abc000"), ("second", "abc002")):
        convert(tmp_path / name, tmp_path / "out")
        assert [one.id[-6:] for one in map(OpenShards(tmp_path / "out").__getitem__, range(1))] == [kept]


def test_what_was_left_out_is_an_error_where_nothing_may_be(tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(next(OBJECTS.rglob("*abc000.npy")), tmp_path / "in")
    (tmp_path / "in" / "broken.npy").write_bytes(b"x")
    assert convert(tmp_path / "in", tmp_path / "out", is_lenient=True)["skipped"]
    with pytest.raises(InputError, match="broken.npy"):
        convert(tmp_path / "in", tmp_path / "out")


def test_sources_whose_shards_would_have_one_name_are_refused(tmp_path):
    make_tar(tmp_path / "in" / "a" / "b.tar")
    make_tar(tmp_path / "in" / "a-b.tar")
    with pytest.raises(InputError, match="would be shards of one name, 'a-b'"):
        convert(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(("scale", "offset"), [(0.3, 100.0), (1e6, 0.0), (1e-6, 0.0)])
def test_points_far_away_large_or_small_keep_their_digits(tmp_path, objects, scale, offset):
    one = objects["00000000000000000000000000abc000"]
    points = np.random.RandomState(0).uniform(-1, 1, (64, 3)).astype(np.float32)
    write_shard([dataclasses.replace(one, points=points * scale + np.float32(offset), colors=None)], tmp_path / "a")
    layout = read_layout(tmp_path / "a", ARRAYS, ("about",))
    stored = layout.read("points").astype(np.float32)
    for cloud in (points, stored):
        cloud -= cloud.mean(0)
        cloud /= np.linalg.norm(cloud, axis=1).max()
    np.testing.assert_allclose(stored, points, atol=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"width": None},
        {"width": "../x"},
        {"shards": []},
        {"shards": [3]},
        {"shards": [{"file": "../a.safetensors", "bytes": 1, "count": 1}]},
        {"shards": [{"file": "a.safetensors", "bytes": 1, "count": "1"}]},
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path, change):
    convert(OBJECTS, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(InputError, match="manifest.json' is damaged"):
        OpenShards(tmp_path)


@pytest.mark.parametrize("name", ["points", "views", "text_features"])
def test_a_bit_that_turned_is_told(tmp_path, name):
    convert(OBJECTS, tmp_path)
    path = OpenShards(tmp_path).files[0]
    place = read_layout(path, ARRAYS, ("about",)).places[name]
    data, start = bytearray(path.read_bytes()), place.offset
    data[start : start + 2] = np.array([np.nan], np.float16).tobytes()
    path.write_bytes(data)
    shards = OpenShards(tmp_path)
    with pytest.raises(InputError, match="has numbers that are not finite"):
        shards[0]
