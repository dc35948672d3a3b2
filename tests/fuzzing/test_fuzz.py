"""A short run of the fuzzer, and that it finds what it is there to find."""

import mmap
import os
import random
import time

import pytest

from pointrecon.utils.errors import InputError
from tests.fuzzing import fuzz as program
from tests.fuzzing.forms import Form, WrongResult
from tests.fuzzing.fuzz import TARGETS, fuzz, make_corpus, summarize

COUNTS = {"config": 40, "datasets": 44, "checkpoint": 20, "pickles": 120, "resume": 12}
COUNTS |= {"meshes": 120, "packages": 60, "shards": 60, "debshapes": 16, "open": 48, "results": 12, "scenes": 60}


@pytest.mark.parametrize("target", TARGETS)
def test_a_short_run_finds_nothing(target):
    if target == "scenes":
        pytest.importorskip("collada"), pytest.importorskip("trimesh")
    if target == "results":
        pytest.importorskip("plotly")
    count = COUNTS[target]
    result = fuzz([target], count, 60.0, 3, ["test"])
    item = result["targets"][target]
    assert item["cases"] == result["cases"] >= count // 2 and not item["kept"] and result["findings"] == 0
    assert item["refused"] + item["read"] == item["cases"] and item["refused"] and item["read"]
    assert f"{item['refused']:,}" in summarize(result) and result["environment"]["command"] == ["test"]


def die():
    os._exit(3)


def take_memory(size):
    """Not from the heap, which may have as much to give away that earlier tests have left."""
    with mmap.mmap(-1, size) as block:
        block[::4096] = bytes(size // 4096)


FAULTS = {
    "crash": die,
    "ZeroDivisionError": lambda: 1 // 0,
    "wrong result": lambda: (_ for _ in ()).throw(WrongResult("of no use")),
    "hang": lambda: time.sleep(30),
    "memory": lambda: take_memory(500 << 20),
    "refused": lambda: (_ for _ in ()).throw(InputError("a sentence that says what is wrong")),
    "long message": lambda: (_ for _ in ()).throw(InputError("no")),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_are_found_and_the_run_goes_on(monkeypatch, kind):
    def write(folder):
        (folder / "a.txt").write_text("whole")

    def read(folder):
        if (folder / "a.txt").read_text() != "whole":
            FAULTS[kind]()

    def spoil(path, rng):
        path.write_text(rng.choice(("spoilt", "whole")))

    monkeypatch.setitem(TARGETS, "made up", (Form("form", write, read, spoil),))
    monkeypatch.setattr(program, "WALL_SECONDS_A_CASE", 1.5 if kind == "hang" else 600.0)  # a busy machine is no fault
    said = []
    count, seed = (2, 1) if kind == "hang" else (6, 0)  # a hang costs its time
    result = fuzz(["made up"], count, None, seed, [], said.append)["targets"]["made up"]
    bad = result["refused"] if kind == "refused" else result["kinds"][kind]
    assert result["cases"] == count and bad >= 1 and result["read"] == count - bad >= 1
    assert len(said) == result["findings"] == (0 if kind == "refused" else bad)


def test_what_keeps_the_processor_busy_hangs_and_what_waits_does_not(monkeypatch):
    monkeypatch.setattr(program, "SECONDS_A_CASE", 0.3)

    def read(folder):
        if (folder / "a.txt").read_text() == "busy":
            while True:
                pass
        time.sleep(0.6)

    def spoil(path, rng):
        path.write_text(rng.choice(("busy", "idle")))

    form = Form("form", lambda folder: (folder / "a.txt").write_text("idle"), read, spoil)
    monkeypatch.setitem(TARGETS, "made up", (form,))
    result = fuzz(["made up"], 4, None, 1, [])["targets"]["made up"]
    assert result["kinds"].keys() == {"hang"} and result["read"] == 4 - result["kinds"]["hang"] > 0


def test_a_case_is_the_same_each_time(tmp_path):
    (form,) = TARGETS["config"]
    corpus = make_corpus([form], tmp_path)[0]
    for name in ("a", "b"):
        program.make_case(form, corpus, tmp_path / name, random.Random("x"))
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b")]
    assert files[0] == files[1] != corpus


def test_unknown_target():
    with pytest.raises(InputError, match="--target is 'x'"):
        fuzz(["x"], 1, None, 0, [])
