"""Bad input: a clear sentence, the rest of the work done, nothing half-written."""

import errno
import json
import os
import struct
import time

import h5py
import numpy as np
import pytest

from pointrecon.datasets.folder import convert, listing, pictures
from pointrecon.datasets.folder.convert import CACHE_NAME, REPORT, cache_folder_of, convert_files
from pointrecon.datasets.folder.folder import Folder
from pointrecon.datasets.folder.listing import list_files
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.pictures import decode_picture
from pointrecon.utils.processes.pool import Failure

CLOUD = np.random.RandomState(0).randn(60, 3)
PLY = "ply\nformat ascii 1.0\nelement vertex {n}\nproperty float x\nproperty float y\nproperty float z\n"
FACES = "element face {m}\nproperty list uchar int vertex_indices\nend_header\n"


def ply(vertices, faces, num_vertices=None, num_faces=None):
    head = PLY.format(n=num_vertices or len(vertices)) + FACES.format(m=num_faces or len(faces))
    rows = [*(" ".join(map(str, row)) for row in vertices), *(f"3 {a} {b} {c}" for a, b, c in faces)]
    return (head + "\n".join(rows) + "\n").encode()


def stl(num, claimed):
    return bytes(80) + struct.pack("<I", claimed) + bytes(50) * num


TRIANGLE = [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
# Name -> bytes and a part of the reason.
BAD = {
    "mesh without faces.off": (b"OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n", "points, but a shape needs|neither|no faces"),
    "nan vertex.ply": (ply([[0, 0, 0], [1, 0, "nan"], [0, 1, 0]], [[0, 1, 2]]), "no sensible numbers|NaN"),
    "zero extent.obj": (b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "without area|no area|no extent"),
    "one point.xyz": (b"1 2 3\n", "1 points, but a shape needs"),
    "really a picture.obj": (b"\x89PNG\r\n\x1a\n", "is a .png file by its first bytes"),
    "really a ply.stl": (ply(TRIANGLE, [[0, 1, 2]]), "is a .ply file by its first bytes"),
    "count that lies.stl": (stl(1, 4_000_000_000), "declares|claims|ends|cannot be read"),
    "count that lies.ply": (
        ply(TRIANGLE, [[0, 1, 2]], num_faces=2_000_000_000),
        "claims 2,000,000,000 faces and has 1",
    ),
    "vertex that is not there.off": (b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "vertex|index|cannot be read"),
    "empty.glb": (b"", "is empty"),
    "binary zeros.dae": (bytes(500), "no .dae file that can be read|package pycollada"),
    "text.npy": (b"hello", "npy|magic|NumPy|read"),
    "ünïcödé Ünsinn.las": (b"LASF" + bytes(300), "LAS file|package"),
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A folder of two good clouds and everything that is bad."""
    root = tmp_path_factory.mktemp("gemischt")
    for label in ("gute Form", "plain"):
        (root / label).mkdir()
        np.save(root / label / "größe 1.npy", CLOUD)
    (root / "schlecht").mkdir()
    for name, (data, _) in BAD.items():
        (root / "schlecht" / name).write_bytes(data)
    (root / "schlecht" / "gone.ply").symlink_to(root / "nowhere.ply")
    (root / "schlecht" / "again").symlink_to(root, target_is_directory=True)
    (root / "schlecht" / "a folder.obj").mkdir()
    return root


@pytest.fixture(scope="module")
def opened(mixed):
    return Folder(str(mixed), up="y", num_stored=32, jobs=2)


@pytest.mark.parametrize("name", BAD)
def test_each_bad_file_is_named_with_its_reason(opened, name):
    import re

    why = opened.skipped[f"schlecht/{name}"]
    assert re.search(BAD[name][1], why), why
    assert "\n" not in why and len(why) < 501 and "Traceback" not in why


def test_the_rest_is_read_and_the_report_names_all(opened, mixed):
    assert opened.ids == ["gute Form/größe 1.npy", "plain/größe 1.npy"] and opened.class_names == ["gute Form", "plain"]
    assert opened.num_skipped == len(BAD) + 1, "a link that leads nowhere is one more"
    report = (mixed / CACHE_NAME / REPORT).read_text(encoding="utf-8")
    assert len(report.splitlines()) == opened.num_skipped and "ünïcödé" in report
    assert not [path for path in (mixed / CACHE_NAME).iterdir() if ".tmp" in path.name]


def hang_or_read(task):
    if "slow" in task[1]:
        time.sleep(60)
    if "hungry" in task[1]:
        return np.zeros(1 << 33, np.uint8)  # 8 GB
    if "crash" in task[1]:
        os._exit(7)
    return convert.sample_task(task)


def test_a_reader_that_hangs_eats_memory_or_dies_ends_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "sample_file", None)  # children import the module anew: this proves that they read
    real, seen = convert.TaskPool, {}

    def pool(function, *args):
        return real(hang_or_read, *args)

    monkeypatch.setattr(convert, "TaskPool", pool)
    for name in ("a", "slow", "hungry", "crash"):
        np.save(tmp_path / f"{name}.npy", CLOUD)
    found = convert_files(
        list_files(tmp_path), tmp_path / "cache", num_points=32, jobs=2, time_limit=3
    )  # a cloud takes 10 ms
    seen = found.skipped
    assert [item.id for item in found.items] == ["a.npy"]
    assert "took over 3 s" in seen["slow.npy"] and "exit code 7" in seen["crash.npy"]
    assert "memory" in seen["hungry.npy"] or "allocate" in seen["hungry.npy"]


def test_a_file_that_ran_out_of_time_is_tried_again_with_more(tmp_path, monkeypatch):
    calls = []

    class Pool:  # a file takes as many seconds as its name says
        def __init__(self, function, jobs, time_limit, memory):
            self.time_limit = time_limit

        __enter__ = __exit__ = lambda self, *error: self

        def run(self, tasks):
            for task in tasks:
                name = task[1].rpartition("/")[2]
                calls.append(name)
                is_late = float(name.split(".")[0]) > self.time_limit
                late = Failure("time limit", f"took over {self.time_limit:g} s")
                yield task, late if is_late else convert.sample_task(task)

    monkeypatch.setattr(convert, "TaskPool", Pool)
    for name in ("1", "20", "300"):
        np.save(tmp_path / f"{name}.npy", CLOUD)

    def read(time_limit, count=3):
        calls.clear()
        items = list_files(tmp_path)[:count]
        found = convert_files(items, tmp_path / "cache", num_points=32, jobs=1, time_limit=time_limit)
        return sorted(item.id for item in found.items), sorted(calls), sorted(found.skipped)

    late = ["20.npy", "300.npy"]
    assert read(5.0) == (["1.npy"], ["1.npy", *late], late)
    assert read(5.0) == read(4.0) == (["1.npy"], [], late), "it has been given as much"
    assert read(60.0) == (["1.npy", "20.npy"], late, ["300.npy"])
    assert read(60.0)[1] == [] and read(5.0) == (["1.npy", "20.npy"], [], ["300.npy"])
    # An earlier version has not kept the limit.
    with h5py.File(tmp_path / "cache" / "shapes-32-0.h5", "r+") as file:
        ((name, key, why),) = json.loads(file["skipped"][0])
        file["skipped"][0] = json.dumps([[name, key.partition(", stopped after")[0], why]])
    assert read(60.0) == (["1.npy", "20.npy"], ["300.npy"], ["300.npy"])
    assert read(60.0)[1] == [] and read(600.0) == (["1.npy", *late], ["300.npy"], [])


def test_a_picture_that_ran_out_of_time_is_drawn_again_with_more(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", CLOUD)
    found = convert_files(list_files(tmp_path), tmp_path / "cache", num_points=32, jobs=1)
    picture, asked = pictures.draw_cloud(CLOUD[:, :3], None, "y"), []

    def draw(tasks, jobs, time_limit):
        asked.extend(tasks)
        return [(task[0], *((picture, "") if time_limit > 10 else (b"", "time limit"))) for task in tasks]

    monkeypatch.setattr(pictures, "_draw_all", draw)
    for time_limit, is_drawn in ((5.0, True), (5.0, False), (60.0, True), (60.0, False), (5.0, False)):
        asked.clear()
        (drawn,) = pictures.make_pictures(found, "y", 1, time_limit)
        assert bool(asked) == is_drawn and (time_limit < 10 or drawn == picture)


def test_a_mesh_is_drawn_and_a_cloud_is_not(tmp_path, monkeypatch):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n")
    np.save(tmp_path / "b.npy", CLOUD)
    picture = decode_picture(pictures.draw_task((0, str(tmp_path / "a.obj"), "y", 30.0)))
    assert picture.ndim == 3 and len(np.unique(picture)) > 1
    assert pictures.draw_task((0, str(tmp_path / "b.npy"), "y", 30.0)) == b""
    monkeypatch.setattr(pictures, "MAX_FACES", 3)
    assert pictures.draw_task((0, str(tmp_path / "a.obj"), "y", 30.0)) == b""


@pytest.mark.parametrize("content", [b"no HDF5 file", None])
def test_pictures_of_a_damaged_cache_are_made_again(tmp_path, content):
    path = tmp_path / "pictures-y.h5"
    assert pictures._read(path, {"a": "key"}, 10.0) == ({}, {})
    pictures._write(path, {"a": b"picture"}, {"a": "key"})
    assert pictures._read(path, {"a": "key"}, 10.0) == ({"a": b"picture"}, {"a": "key"})
    assert pictures._read(path, {"a": "another"}, 10.0) == ({}, {})
    if content is None:
        with h5py.File(path, "a") as file:
            file.attrs["format"] = "another"
    else:
        path.write_bytes(content)
    assert pictures._read(path, {"a": "key"}, 10.0) == ({}, {})


def test_a_table_is_written_as_it_is_read_and_has_a_size(tmp_path, monkeypatch):
    items = [
        listing.FileItem(tmp_path / "a.npy", "a.npy", "x", 'a "wide", red one', "train"),
        listing.FileItem(tmp_path / "b.npy", "b.npy", None, "b", None),
    ]
    listing.write_table(items, tmp_path / "shapes.csv")
    assert list_files(tmp_path) == items
    monkeypatch.setattr(listing, "MAX_TABLE", 10)
    with pytest.raises(InputError, match="which is no table of files"):
        list_files(tmp_path)


def test_labels_given_twice(tmp_path):
    np.save(tmp_path / "a.npy", CLOUD)
    for text, message in (
        ("path,label\na.npy,x\n./a.npy,y\n", "listed twice, as 'x' and as 'y'"),
        ("path,label,label\na.npy,x,y\n", "has the column 'label' 2 times"),
    ):
        (tmp_path / "shapes.csv").write_text(text)
        with pytest.raises(InputError, match=message):
            list_files(tmp_path)
    (tmp_path / "shapes.csv").write_text("path;label;text\na.npy;x;a, b\n./a.npy;x;a, b\n\n")
    assert [(item.id, item.label, item.text) for item in list_files(tmp_path)] == [("a.npy", "x", "a, b")]
    (tmp_path / "shapes.csv").write_bytes("path,label\na.npy,Stühle\n".encode("latin-1"))
    with pytest.raises(InputError, match="save the table as UTF-8"):
        list_files(tmp_path)


def test_a_table_that_names_what_is_not_there_goes_on(tmp_path):
    np.save(tmp_path / "a.npy", CLOUD)
    (tmp_path / "shapes.csv").write_text("path,label\na.npy,x\ngone.npy,x\n")
    data = Folder(str(tmp_path), up="y", num_stored=32, jobs=1)
    assert data.ids == ["a.npy"] and "gone.npy" in data.skipped and "No such file" in data.skipped["gone.npy"]


def test_a_read_only_folder_keeps_its_clouds_in_the_users_cache(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", CLOUD)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path) == str(tmp_path))
    place = cache_folder_of(tmp_path)
    assert place.is_relative_to(tmp_path / "cache") and cache_folder_of(tmp_path) == place
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    with pytest.raises(InputError, match="set XDG_CACHE_HOME"):
        cache_folder_of(tmp_path)


def test_a_full_disk_leaves_the_old_cache_whole(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", CLOUD)
    before = Folder(str(tmp_path), up="y", num_stored=32, jobs=1)[0]["points"]
    np.save(tmp_path / "b.npy", CLOUD)
    real = convert.h5py.File

    def full(path, mode="r", *args, **options):
        if mode == "w":
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, mode, *args, **options)

    monkeypatch.setattr(convert.h5py, "File", full)
    with pytest.raises(InputError, match="no space left on device.*make room"):
        Folder(str(tmp_path), up="y", num_stored=32, jobs=1)
    monkeypatch.undo()
    left = sorted(path.name for path in (tmp_path / CACHE_NAME).iterdir() if not path.name.endswith(".lock"))
    assert left == ["shapes-32-0.h5", REPORT], left
    data = Folder(str(tmp_path), up="y", num_stored=32, jobs=1)
    assert data.ids == ["a.npy", "b.npy"] and (data[0]["points"] == before).all()


def test_a_damaged_cache_is_made_again(tmp_path):
    np.save(tmp_path / "a.npy", CLOUD)
    Folder(str(tmp_path), up="y", num_stored=32, jobs=1)
    path = tmp_path / CACHE_NAME / "shapes-32-0.h5"
    path.write_bytes(path.read_bytes()[:1000])
    assert len(Folder(str(tmp_path), up="y", num_stored=32, jobs=1)) == 1


def test_a_missing_package_is_asked_for_again_the_next_time(tmp_path, monkeypatch):
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", CLOUD)
    asked = []

    def sample(items, reading):
        for item in items:
            asked.append(item.id)
            is_first = item.id == "b.npy" and len(asked) < 3
            yield (
                item,
                Failure("missing package", "needs x")
                if is_first
                else convert.sample_task(("0", str(item.path), 32, 0)),
            )

    monkeypatch.setattr(convert, "_sample_all", sample)
    items = list_files(tmp_path)
    assert convert_files(items, tmp_path / "c", num_points=32).skipped == {"b.npy": "needs x"}
    assert [item.id for item in convert_files(items, tmp_path / "c", num_points=32).items] == ["a.npy", "b.npy"]
    assert asked == ["a.npy", "b.npy", "b.npy"]


def test_changed_companions_and_tables_elsewhere(tmp_path, monkeypatch):
    """A material that changes means the shape is read again; a table of some files leaves the clouds of the others."""
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nusemtl m\n" + "f 1 2 3\nf 1 2 4\n"
    )
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 1 0 0\n")
    np.save(tmp_path / "b.npy", CLOUD)
    red = Folder(str(tmp_path), up="y", num_stored=32, jobs=1, colors=True)
    assert red[0]["colors"][0].tolist() == [1, 0, 0] and red[1]["colors"].unique().numel() == 1
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 0 0 1\n#\n")
    blue = Folder(str(tmp_path), up="y", num_stored=32, jobs=1, colors=True)
    assert blue[0]["colors"][0].tolist() == [0, 0, 1]
    table = tmp_path / "elsewhere" / "some.csv"
    table.parent.mkdir()
    table.write_text("path\nb.npy\n")
    monkeypatch.setattr(convert, "_sample_all", lambda items, *_: pytest.fail(str(items)) if items else iter(()))
    assert Folder(str(tmp_path), up="y", num_stored=32, table=str(table)).ids == ["b.npy"]
    table.unlink()
    assert len(Folder(str(tmp_path), up="y", num_stored=32)) == 2
