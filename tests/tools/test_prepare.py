"""The pipeline on a toy source: what goes wrong is told and left out; the result depends on the content alone."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import tools.prepare as module
from datasets.debshapes import DebShapes
from datasets.prepare.manifest import MANIFEST, POINTS, VIEWS
from tools.prepare import SUMMARY, Options, format_summary, prepare
from tools.prepare_select import Rules
from utils.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
# Children import this by name: a source whose meshes are bumpy balls, unless the file says otherwise.
TOYS = """
import os, sys, time
from pathlib import Path
import numpy as np
from datasets.prepare.mesh import Mesh, MeshError
from datasets.prepare.shape import make_shape
from datasets.prepare.sources import SOURCES, Item, Source
from utils.errors import InputError

def list_items(root):
    package, version = (root / "VERSION").read_text().split("_")
    for path in sorted(root.rglob("*.toy")):
        inside = path.relative_to(root).as_posix()
        yield Item("toys", package, version, inside, path.stem, ("toys",), "CC0-1.0", "me")

def read(root, item):
    kind, _, number = (root / item.path).read_text().partition(" ")
    if kind == "hang":
        time.sleep(600)
    if kind == "crash":
        os.abort()
    if kind == "broken":
        raise MeshError(f"'{item.path}' ends early", "truncated")
    time.sleep(float(os.environ.get("TOY_SECONDS", 0)))
    return ball(int(number))

def ball(seed):
    random = np.random.RandomState(seed)
    up, round_ = np.meshgrid(np.linspace(0, np.pi, 9), np.linspace(0, 2 * np.pi, 13), indexing="ij")
    vertices = np.stack([np.sin(up) * np.cos(round_), np.cos(up), np.sin(up) * np.sin(round_)], -1).reshape(-1, 3)
    i = np.arange(8)[:, None] * 13 + np.arange(12)
    faces = np.concatenate([np.stack([i, i + 1, i + 13], -1), np.stack([i + 1, i + 14, i + 13], -1)]).reshape(-1, 3)
    return Mesh(vertices * (0.3 + random.rand(len(vertices), 1)), faces)

def unpack(deb, folder, keep=None):
    lines = deb.read_text().splitlines()
    if lines[0] != "toy":
        raise InputError(f"'{deb}' is no archive; download it again")
    for line in lines[1:]:
        name, _, content = line.partition(" ")
        if ".." in name:
            raise InputError(f"'{deb}' has the name '{name}', which leads out of the folder; do not use it")
        if not keep(name):
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "VERSION").write_text("_".join(deb.name.split("_")[:2]))
    return folder

def make(task):
    return make_shape(task)

SOURCES["toys"] = Source("toys", ("toys-a", "toys-b"), list_items, read)
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Makes the toy source known here and in children."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "toy_source.py").write_text(TOYS)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("toy_source", None)
    import toy_source

    monkeypatch.setattr(module, "make_shape", toy_source.make)
    monkeypatch.setattr(module, "unpack", toy_source.unpack)
    monkeypatch.setattr(module, "VERSIONS", {"toys-a": "1.0", "toys-b": "1.0"})
    yield toy_source
    module.SOURCES.pop("toys", None)


def write_packages(folder, files=None, version="1.0", packages=("toys-a", "toys-b")):
    """`toys-a` has the files, `toys-b` one ball."""
    folder.mkdir(parents=True, exist_ok=True)
    files = files if files is not None else {f"data/ball{number}.toy": f"ball {number}" for number in range(4)}
    contents = {"toys-a": files, "toys-b": {"data/other.toy": "ball 99"}}
    for package in packages:
        lines = ["toy", *(f"{name} {content}" for name, content in contents[package].items())]
        (folder / f"{package}_{version}_all.deb").write_text("\n".join(lines))
    return folder


def make(folder, packages, **options):
    rules = options.pop("rules", Rules(leave_out="none"))
    return prepare(Options(folder / "debshapes", ("toys",), packages, rules=rules, **options))


def contents(folder):
    return {name: (folder / "debshapes" / name).read_bytes() for name in (MANIFEST, POINTS, VIEWS)}


def test_makes_a_data_set_that_loads(tmp_path, toys):
    summary = make(tmp_path, write_packages(tmp_path / "debs"))
    assert (summary["num_meshes"], summary["num_shapes"], summary["warnings"]) == (5, 5, [])
    parts = [DebShapes(str(tmp_path), split=split, images=True) for split in ("pretrain", "test")]
    ids = sorted(parts[0].ids + parts[1].ids)
    assert ids == [f"toys:toys-a/data/ball{number}.toy" for number in range(4)] + ["toys:toys-b/data/other.toy"]
    assert parts[0][0]["points"].shape == (8192, 3) and parts[0][0]["image"].shape == (3, 128, 128)
    assert set(parts[0].names) <= {"ball", "other"}
    row = json.loads((tmp_path / "debshapes" / MANIFEST).read_text().splitlines()[0])
    wanted = {"package": "toys-a", "version": "1.0", "licence": "CC0-1.0", "creator": "me", "path": "data/ball0.toy"}
    assert {key: row[key] for key in wanted} == wanted
    assert not (tmp_path / "debshapes" / "work").exists()
    assert json.loads((tmp_path / "debshapes" / SUMMARY).read_text()) == summary
    assert summary["checksum"] in format_summary(summary)


def test_the_result_depends_on_neither_processes_nor_interruptions(tmp_path, toys, monkeypatch):
    debs = write_packages(tmp_path / "debs")
    first = make(tmp_path / "a", debs)["checksum"]
    assert make(tmp_path / "b", debs, jobs=3)["checksum"] == first
    store, count = module._store, []

    def store_two(out, item, result):
        if len(count) == 2:
            raise KeyboardInterrupt
        count.append(item.id)
        store(out, item, result)

    monkeypatch.setattr(module, "_store", store_two)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "c", debs)
    monkeypatch.setattr(module, "_store", lambda out, item, result: (count.append(item.id), store(out, item, result)))
    assert make(tmp_path / "c", debs)["checksum"] == first
    assert len(count) == len(set(count)) == 5, "nothing is made twice"
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")


def test_a_package_in_parts_makes_the_same_and_downloads_go_when_they_are_unpacked(tmp_path, toys, monkeypatch):
    debs = write_packages(tmp_path / "debs")
    wanted = make(tmp_path / "a", debs)["checksum"]
    toys.SOURCES["toys"] = dataclasses.replace(toys.SOURCES["toys"], num_parts=3)
    present, downloads = [], []

    def download(names, folder):
        downloads.extend(names)
        folder.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copy(debs / f"{name}_1.0_all.deb", folder)) for name in names]

    def store(out, item, result, store=module._store):
        present.append(len(list((out / "work" / "unpacked").rglob("*.toy"))))
        store(out, item, result)

    monkeypatch.setattr(module, "download", download)
    monkeypatch.setattr(module, "_store", store)
    assert make(tmp_path / "b", None, keeps_work=True)["checksum"] == wanted
    assert len(present) == 5 and max(present) < 4, "never unpacked as a whole"
    assert not list((tmp_path / "b").rglob("*.deb")) and set(downloads) == {"toys-a", "toys-b"}


def test_goes_on_after_being_killed(tmp_path, toys):
    debs = write_packages(tmp_path / "debs")
    wanted = make(tmp_path / "a", debs)["checksum"]
    script = textwrap.dedent(f"""
        import sys
        sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path / "modules")!r}]
        from pathlib import Path
        import tools.prepare as module, toy_source
        from tools.prepare_select import Rules
        module.make_shape, module.unpack = toy_source.make, toy_source.unpack
        if __name__ == "__main__":
            out, debs = Path({str(tmp_path / "b" / "debshapes")!r}), Path({str(debs)!r})
            module.prepare(module.Options(out, ("toys",), debs, rules=Rules(leave_out="none")))
    """)
    (tmp_path / "run.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py")],
        env={**os.environ, "TOY_SECONDS": "0.5"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    work = tmp_path / "b" / "debshapes" / "work" / "items"
    end = time.monotonic() + 60
    while not list(work.glob("*/*.npz")) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 1 <= len(list(work.glob("*/*.npz"))) < 5
    assert make(tmp_path / "b", debs)["checksum"] == wanted


def test_what_hangs_crashes_or_is_broken_is_counted_by_cause(tmp_path, toys):
    files = {"a.toy": "hang", "b.toy": "crash", "c.toy": "broken", "d.toy": "ball 1"}
    summary = make(tmp_path, write_packages(tmp_path / "debs", files), time_limit=1.5)
    counts = summary["sources"]["toys"]
    assert counts["left_out"] == {"crash": 1, "time limit": 1, "truncated": 1}
    assert (counts["meshes"], counts["read"], counts["kept"]) == (5, 2, 2)
    assert "time limit 1" in format_summary(summary)


def test_copies_and_large_families_are_left_out(tmp_path, toys):
    files = {f"p/part_{number}mm.toy": f"ball {number}" for number in range(5)} | {"z/again.toy": "ball 3"}
    summary = make(tmp_path, write_packages(tmp_path / "debs", files), rules=Rules("none", per_family=2))
    assert summary["sources"]["toys"]["left_out"] == {"duplicate": 1, "large family": 3}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "toys-a_1.0_all.deb").unlink(), "there is no 'toys-a_"),
        (lambda folder: (folder / "toys-a_1.0_all.deb").write_text("half"), "is no archive"),
        (lambda folder: (folder / "toys-a_1.0_all.deb").write_text("toy\n../../evil.toy ball 1"), "leads out of"),
    ],
    ids=["missing", "corrupt", "escaping"],
)
def test_a_bad_package_is_named_and_left_out_and_the_next_run_goes_on(tmp_path, toys, caplog, spoil, message):
    debs = write_packages(tmp_path / "debs")
    wanted = make(tmp_path / "whole", debs)["checksum"]
    spoil(debs)
    caplog.set_level("WARNING", "recon")
    module.log.propagate = True
    summary = make(tmp_path, debs, keeps_work=True)
    assert any("toys-a" in record.message and message in record.message for record in caplog.records)
    assert summary["warnings"] == ["package 'toys-a' gave no mesh; the checksum will differ"]
    assert summary["num_shapes"] == 1 and not list(tmp_path.rglob("evil.toy"))
    write_packages(debs)
    (tmp_path / "debshapes" / SUMMARY).unlink()
    assert make(tmp_path, debs)["checksum"] == wanted


def test_another_version_is_a_warning(tmp_path, toys):
    summary = make(tmp_path, write_packages(tmp_path / "debs", version="2.0", packages=("toys-a",)))
    assert summary["warnings"][0] == (
        "package 'toys-a' is of version 2.0, not 1.0; the checksum will differ from the documented one"
    )
    assert summary["versions"] == {"toys-a": "2.0", "toys-b": None}


def test_a_full_disk_is_one_sentence_and_the_next_run_goes_on(tmp_path, toys, monkeypatch):
    debs = write_packages(tmp_path / "debs")
    wanted = make(tmp_path / "whole", debs)["checksum"]
    replace, count = os.replace, []

    def full(source, target):
        if str(target).endswith(".npz"):
            count.append(target)
            if len(count) > 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target)

    monkeypatch.setattr(module.os, "replace", full)
    with pytest.raises(InputError, match="no space left.*make room and go on"):
        make(tmp_path, debs)
    monkeypatch.setattr(module.os, "replace", replace)
    assert make(tmp_path, debs)["checksum"] == wanted


def test_a_finished_data_set_is_not_made_again_unless_the_settings_differ(tmp_path, toys):
    debs = write_packages(tmp_path / "debs")
    summary = make(tmp_path, debs)
    stamp = (tmp_path / "debshapes" / POINTS).stat().st_mtime_ns
    assert make(tmp_path, debs) == summary
    assert (tmp_path / "debshapes" / POINTS).stat().st_mtime_ns == stamp
    started = tmp_path / "debshapes" / ".teachers.h5.parts-1"
    started.mkdir()
    (tmp_path / "debshapes" / "teachers.h5").touch()
    assert make(tmp_path, debs) == summary and started.exists()
    assert make(tmp_path, debs, limit=2)["num_meshes"] == 3
    assert not started.exists() and not (tmp_path / "debshapes" / "teachers.h5").exists(), "they are of other shapes"
    assert (tmp_path / "debshapes" / "sheets" / "toys.png").is_file()


def test_refuses_what_cannot_be(tmp_path, toys):
    with pytest.raises(InputError, match="did you mean 'toys'"):
        prepare(Options(tmp_path, ("toy",)))
    with pytest.raises(InputError, match="nowhere' is no folder"):
        make(tmp_path, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no mesh was found"):
        make(tmp_path, tmp_path / "empty")
    with pytest.raises(InputError, match="leave_out is 'some'"):
        Rules(leave_out="some")
    with pytest.raises(InputError, match="per_family is 0"):
        Rules(per_family=0)
