"""The pipeline on a toy source: what goes wrong is told and left out; the result depends on the content alone."""

import dataclasses
import json
import shutil
import signal
import time
from pathlib import Path

import pytest

import pointrecon.tools.debshapes.build as module
from pointrecon.datasets.opening import open_split
from pointrecon.datasets.sets.manifest import MANIFEST, POINTS, VIEWS
from pointrecon.datasets.splits import Choice
from pointrecon.tools.debshapes.build import SUMMARY, Options, prepare
from pointrecon.tools.debshapes.select import Rules
from pointrecon.tools.debshapes.summary import format_summary
from pointrecon.tools.debshapes.work import Work
from pointrecon.utils.errors import InputError
from tests.programs import fork_call


def contents(folder):
    return {name: (folder / "debshapes" / name).read_bytes() for name in (MANIFEST, POINTS, VIEWS)}


def test_makes_a_data_set_that_loads(tmp_path, toys, make, write_packages):
    summary = make(tmp_path, write_packages(tmp_path / "debs"))
    assert (summary["num_meshes"], summary["num_shapes"], summary["warnings"]) == (5, 5, [])
    parts = [
        open_split("DebShapes", str(tmp_path), Choice(split=split), {"images": True}) for split in ("pretrain", "test")
    ]
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


def test_the_result_depends_on_neither_processes_nor_interruptions(tmp_path, toys, make, write_packages, monkeypatch):
    debs = write_packages(tmp_path / "debs")
    first = make(tmp_path / "a", debs)["checksum"]
    assert make(tmp_path / "b", debs, jobs=3)["checksum"] == first
    store, count = Work.store, []

    def store_two(work, item, result):
        if len(count) == 2:
            raise KeyboardInterrupt
        count.append(item.id)
        store(work, item, result)

    monkeypatch.setattr(Work, "store", store_two)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "c", debs)
    monkeypatch.setattr(Work, "store", lambda work, item, result: (count.append(item.id), store(work, item, result)))
    assert make(tmp_path / "c", debs)["checksum"] == first
    assert len(count) == len(set(count)) == 5, "nothing is made twice"
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")


def test_a_package_in_parts_makes_the_same_and_downloads_go_when_they_are_unpacked(
    tmp_path, toys, make, write_packages, wanted, monkeypatch
):
    debs = write_packages(tmp_path / "debs")
    toys.SOURCES["toys"] = dataclasses.replace(toys.SOURCES["toys"], num_parts=3)
    present, downloads = [], []

    def download(names, folder):
        downloads.extend(names)
        folder.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copy(debs / f"{name}_1.0_all.deb", folder)) for name in names]

    def store(work, item, result, store=Work.store):
        present.append(len(list((work.folder / "unpacked").rglob("*.toy"))))
        store(work, item, result)

    monkeypatch.setattr(module, "download", download)
    monkeypatch.setattr(Work, "store", store)
    assert make(tmp_path / "b", None, keeps_work=True)["checksum"] == wanted
    assert len(present) == 5 and max(present) < 4, "never unpacked as a whole"
    assert not list((tmp_path / "b").rglob("*.deb")) and set(downloads) == {"toys-a", "toys-b"}


def test_goes_on_after_being_killed(tmp_path, toys, make, write_packages):
    go = tmp_path / "go"
    files = {f"data/ball{number}.toy": f"ball {number}" for number in range(1, 4)}
    debs = write_packages(tmp_path / "debs", {**files, "data/last.toy": f"hang {go}"})
    process = fork_call(make, tmp_path / "b", debs, log=tmp_path / "printed.txt")
    work = tmp_path / "b" / "debshapes" / "work" / "items"
    end = time.monotonic() + 60
    while not list(work.glob("*/*.npz")) and time.monotonic() < end and process.is_alive():
        time.sleep(0.05)
    process.kill()
    process.join()
    go.touch()
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "printed.txt").read_text()
    made = {path: path.stat().st_mtime_ns for path in work.glob("*/*.npz")}
    assert 1 <= len(made) < 5
    checksum = make(tmp_path / "b", debs, keeps_work=True)["checksum"]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in made.items()), "nothing is made twice"
    assert make(tmp_path / "a", debs)["checksum"] == checksum


def test_copies_and_large_families_are_left_out(tmp_path, toys, make, write_packages):
    files = {f"p/part_{number}mm.toy": f"ball {number}" for number in range(5)} | {"z/again.toy": "ball 3"}
    summary = make(tmp_path, write_packages(tmp_path / "debs", files), rules=Rules("none", per_family=2))
    assert summary["sources"]["toys"]["left_out"] == {"duplicate": 1, "large family": 3}


def test_a_finished_data_set_is_not_made_again_unless_the_settings_differ(tmp_path, toys, make, write_packages):
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


def test_refuses_what_cannot_be(tmp_path, toys, make):
    with pytest.raises(InputError, match="did you mean 'toys'"):
        prepare(Options(tmp_path, ("toy",)))
    with pytest.raises(InputError, match="nowhere' is no folder"):
        make(tmp_path, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no mesh was found"):
        make(tmp_path, tmp_path / "empty")
    for name, value in (("time_limit", float("inf")), ("time_limit", 0.0), ("limit", -1), ("jobs", 0)):
        with pytest.raises(InputError, match=f"{name} is {value}"):
            Options(tmp_path, **{name: value})
    with pytest.raises(InputError, match="leave_out is 'some'"):
        Rules(leave_out="some")
    with pytest.raises(InputError, match="per_family is 0"):
        Rules(per_family=0)
