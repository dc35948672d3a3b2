"""What goes wrong while the set is made is told, left out or stops it, and the next run goes on from there."""

import dataclasses
import errno
import os
import shutil

import pytest

import pointrecon.tools.debshapes.build as module
import pointrecon.tools.debshapes.work as prepare_work
from pointrecon.datasets.sets.debshapes import DebShapes
from pointrecon.datasets.sets.manifest import MANIFEST, POINTS
from pointrecon.tools.debshapes.build import SUMMARY
from pointrecon.tools.debshapes.sources.packages import CannotWriteError
from pointrecon.tools.debshapes.summary import format_summary
from pointrecon.tools.debshapes.work import Work
from pointrecon.utils.errors import InputError


def test_what_hangs_crashes_or_is_broken_is_counted_by_cause_and_only_what_may_pass_is_tried_again(
    tmp_path, toys, make, write_packages, monkeypatch
):
    go = tmp_path / "go"
    files = {"a.toy": f"hang {go}", "b.toy": "broken", "c.toy": "crash", "d.toy": "ball 1"}
    debs = write_packages(tmp_path / "debs", files)
    summary = make(tmp_path, debs, time_limit=3.0, keeps_work=True)  # a ball takes 0.1 s
    counts = summary["sources"]["toys"]
    assert counts["left_out"] == {"crash": 1, "time limit": 1, "truncated": 1}
    assert (counts["meshes"], counts["read"], counts["kept"]) == (5, 2, 2)
    assert "time limit 1" in format_summary(summary)
    go.touch()
    tried, store = [], Work.store
    monkeypatch.setattr(Work, "store", lambda work, item, result: (tried.append(item.name), store(work, item, result)))
    for time_limit, again in ((2.0, ["c"]), (60.0, ["a", "c"])):
        (tmp_path / "debshapes" / SUMMARY).unlink()
        summary = make(tmp_path, debs, time_limit=time_limit, keeps_work=True)
        assert sorted(tried) == again
        tried.clear()
    assert summary["sources"]["toys"]["left_out"] == {"crash": 1, "truncated": 1}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "toys-a_1.0_all.deb").unlink(), "there is no 'toys-a_"),
        (lambda folder: (folder / "toys-a_1.0_all.deb").write_text("half"), "is no archive"),
        (lambda folder: (folder / "toys-a_1.0_all.deb").write_text("toy\n../../evil.toy ball 1"), "leads out of"),
    ],
    ids=["missing", "corrupt", "escaping"],
)
def test_a_bad_package_is_named_and_left_out_and_the_next_run_goes_on(
    tmp_path, toys, make, write_packages, wanted, caplog, spoil, message
):
    debs = write_packages(tmp_path / "debs")
    spoil(debs)
    caplog.set_level("WARNING", "recon")
    module.log.propagate = True
    summary = make(tmp_path, debs)
    assert any("toys-a" in record.message and message in record.message for record in caplog.records)
    assert summary["warnings"] == ["package 'toys-a' gave no mesh; the checksum will differ"]
    assert summary["num_shapes"] == 1 and not list(tmp_path.rglob("evil.toy"))
    assert summary["missing"] == ["toys-a"] and (tmp_path / "debshapes" / "work").is_dir()
    write_packages(debs)
    assert make(tmp_path, debs)["checksum"] == wanted
    assert not (tmp_path / "debshapes" / "work").exists()


def test_a_full_disk_while_unpacking_stops_the_build(tmp_path, toys, make, write_packages, monkeypatch):
    debs = write_packages(tmp_path / "debs")

    def full(*arguments):
        raise CannotWriteError("cannot write to 'x': no space left on device")

    monkeypatch.setattr(module, "unpack", full)
    with pytest.raises(CannotWriteError, match="no space left"):
        make(tmp_path, debs)
    monkeypatch.setattr(module, "unpack", toys.unpack)
    assert make(tmp_path, debs)["num_shapes"] == 5


def test_a_listing_that_stumbles_costs_one_package(tmp_path, toys, make, write_packages):
    debs = write_packages(tmp_path / "debs")

    def list_items(root, whole=toys.SOURCES["toys"].list_items):
        if "toys-a" in (root / "VERSION").read_text():
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        return whole(root)

    toys.SOURCES["toys"] = dataclasses.replace(toys.SOURCES["toys"], list_items=list_items)
    summary = make(tmp_path, debs)
    assert summary["missing"] == ["toys-a"] and summary["num_shapes"] == 1


def test_what_a_power_cut_left_is_made_again(tmp_path, toys, make, write_packages):
    debs = write_packages(tmp_path / "debs")
    wanted = make(tmp_path, debs, keeps_work=True)["checksum"]
    items = sorted((tmp_path / "debshapes" / "work" / "items").glob("*/*.npz"))
    items[0].write_bytes(items[0].read_bytes()[:-30])
    items[1].write_bytes(b"")
    items[2].unlink()
    items[2].with_suffix(".json").write_bytes(b"")
    (tmp_path / "debshapes" / SUMMARY).unlink()
    assert make(tmp_path, debs)["checksum"] == wanted


def test_meshes_that_took_too_long_are_told_and_made_by_a_run_with_more_time(tmp_path, toys, make, write_packages):
    debs, folder = write_packages(tmp_path / "debs", {"a.toy": "ball 1"}), tmp_path / "debshapes"
    wanted = make(tmp_path, debs, keeps_work=True)
    made = next((folder / "work" / "items").glob("*/*.npz"))
    made.unlink()
    made.with_suffix(".json").write_text('{"cause": "time limit", "time_limit": 60.0}')
    (folder / SUMMARY).unlink()
    summary = make(tmp_path, debs)
    assert (summary["late"], summary["num_shapes"]) == (1, 1) and "1 meshes took over 60 s" in summary["warnings"][0]
    assert (folder / "work").is_dir() and make(tmp_path, debs) == summary
    again = make(tmp_path, debs, time_limit=90.0)
    assert (again["late"], again["checksum"]) == (0, wanted["checksum"]) and not (folder / "work").exists()


@pytest.mark.parametrize("spoil", ["points", "manifest", "summary", "half"])
def test_what_does_not_belong_together_is_made_anew(tmp_path, toys, make, write_packages, spoil):
    debs = write_packages(tmp_path / "debs")
    wanted = make(tmp_path, debs)["checksum"]
    folder = tmp_path / "debshapes"
    if spoil == "points":
        (folder / POINTS).unlink()
    elif spoil == "manifest":
        (folder / MANIFEST).write_text("{}\n")
    else:
        (folder / SUMMARY).write_text("[]" if spoil == "summary" else "{")
    assert make(tmp_path, debs)["checksum"] == wanted
    assert len(DebShapes(str(tmp_path)).ids) > 0


def test_another_version_in_the_folder_is_read_and_not_what_was_listed_before(tmp_path, toys, make, write_packages):
    debs = write_packages(tmp_path / "debs")
    make(tmp_path, debs, keeps_work=True)
    shutil.rmtree(debs)
    write_packages(debs, version="2.0")
    (tmp_path / "debshapes" / SUMMARY).unlink()
    assert make(tmp_path, debs)["versions"] == {"toys-a": "2.0", "toys-b": "2.0"}


def test_without_a_shape_the_causes_are_told(tmp_path, toys, make, write_packages):
    debs = write_packages(tmp_path / "debs", {"a.toy": "broken"}, packages=("toys-a",))
    with pytest.raises(InputError, match=r"no shape is left of 1 meshes \(truncated 1\)"):
        make(tmp_path, debs)


def test_another_version_is_a_warning(tmp_path, toys, make, write_packages):
    summary = make(tmp_path, write_packages(tmp_path / "debs", version="2.0", packages=("toys-a",)))
    assert summary["warnings"][0] == (
        "package 'toys-a' is of version 2.0, not 1.0; the checksum will differ from the documented one"
    )
    assert summary["versions"] == {"toys-a": "2.0", "toys-b": None}


def test_a_full_disk_is_one_sentence_and_the_next_run_goes_on(
    tmp_path, toys, make, write_packages, wanted, monkeypatch
):
    debs = write_packages(tmp_path / "debs")
    replace, count = os.replace, []

    def full(source, target):
        if str(target).endswith(".npz"):
            count.append(target)
            if len(count) > 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target)

    monkeypatch.setattr(prepare_work.os, "replace", full)
    with pytest.raises(InputError, match="no space left.*make room and go on"):
        make(tmp_path, debs)
    monkeypatch.setattr(prepare_work.os, "replace", replace)
    assert make(tmp_path, debs)["checksum"] == wanted
