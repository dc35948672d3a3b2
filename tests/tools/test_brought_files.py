"""Files that people bring to the tools, beside configs and data: each broken one is a sentence or a note."""

import json
import os
import types

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from pointrecon import search, words
from pointrecon.datasets.open.zero_shot import find_zero_shot_sets
from pointrecon.search import ShapeIndex
from pointrecon.tools.predict.inputs import read_labels
from pointrecon.tools.report.build import write_report
from pointrecon.tools.report.page import _dump
from pointrecon.tools.report.runs import read_run
from pointrecon.tools.sweeps.read_table import read_table
from pointrecon.tools.visualize.files import describe_origin, read_metrics
from pointrecon.utils.errors import InputError
from pointrecon.vectors import Vectors
from tests.datasets.open.layouts import make_uni3d
from tests.tools.sweeps.conftest import TABLE

DEEP = "[" * 100_000  # more than Python's own readers can nest


@pytest.fixture
def table(tmp_path):
    """Writes a table of runs and returns what is read of it."""
    for name in ("pretrain", "svm", "finetune"):
        (tmp_path / f"{name}.yaml").write_text("seed: 0\n")

    def read(text):
        (tmp_path / "table.yaml").write_text(text)
        return read_table(tmp_path / "table.yaml")

    return read


def test_numbers_of_a_table_are_what_a_person_reads(table):
    assert table(TABLE.replace("seeds: [0, 1]}\noverrides", "seeds: [010, 008]}\noverrides")).rows[
        0
    ].pretrain.seeds == (10, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"rows: {DEEP}", "not valid YAML"),
        ("rows: !!python/object/apply:os.system [x]", "not valid YAML"),
        (f"{TABLE}\nrows: []", "'rows' is given twice"),
        (f"{TABLE}\nout: 3", "out is 3, but must be a text"),
        (TABLE.replace("baseline: scratch}", "baseline: [scratch]}"), "baseline is .* but must be a text"),
        (f"{TABLE}  - {{name: given, checkpoint: 3}}\n", "checkpoint is 3, but must be a text"),
    ],
)
def test_a_broken_table_is_refused(table, text, message):
    with pytest.raises(InputError, match=message):
        table(text)


def test_broken_files_of_a_run_become_notes(tmp_path):
    (tmp_path / "config.yaml").write_text(DEEP)
    (tmp_path / "result.json").write_text(DEEP)
    (tmp_path / "metrics.jsonl").write_text(f"{DEEP}\n{DEEP}\n")
    run = read_run("a", tmp_path)
    assert len(run.notes) == 3 and not run.config and run.result is None and describe_origin(tmp_path) == tmp_path.name
    with pytest.raises(InputError, match="line 1, is not valid JSON"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_labels_that_are_no_text(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"chair\nl\xe4mp\n")
    with pytest.raises(InputError, match="is no UTF-8 text"):
        read_labels(str(tmp_path / "labels.txt"))
    assert read_labels("a\0b,c") == ["a\0b", "c"]
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="file of --labels '.*pipe' is no plain file"):
        read_labels(str(tmp_path / "pipe"))
    assert read_labels(str(tmp_path)) == [str(tmp_path)], "a label may be called as a folder is"


def test_a_list_of_test_objects_that_is_no_text(tmp_path):
    make_uni3d(tmp_path)
    path = tmp_path / "uni3d_data" / "objaverse_lvis" / "lvis_testset.txt"
    text = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + text)
    assert find_zero_shot_sets(tmp_path)[0].labels.tolist() == [1, 0]
    path.write_bytes(text.replace(b"chair", b"ch\xff\xfeir"))
    with pytest.raises(InputError, match="is not a text file"):
        find_zero_shot_sets(tmp_path)


RIGHT = np.ones((2, words.TABLE_WIDTH), np.float16)


@pytest.mark.parametrize(
    ("features", "names"),
    [
        (RIGHT, None),
        (RIGHT, "{"),
        (RIGHT, DEEP),
        (RIGHT, json.dumps(["a"])),
        (RIGHT, json.dumps(["a", 3])),
        (RIGHT[:, :5], json.dumps(["a", "b"])),
        (RIGHT * np.nan, json.dumps(["a", "b"])),
        (RIGHT * 0, json.dumps(["a", "b"])),
    ],
)
def test_a_damaged_table_of_words_is_refused(tmp_path, monkeypatch, features, names):
    monkeypatch.setattr(words, "WEIGHTS", tmp_path)
    save_file({"features": features}, tmp_path / words.TABLE, None if names is None else {"words": names})
    with pytest.raises(InputError, match="is damaged"):
        words.load_table.__wrapped__()
    (tmp_path / words.TABLE).write_bytes(b"x" * 20)
    with pytest.raises(InputError, match="is damaged"):
        words.load_table.__wrapped__()


def test_an_index_with_names_that_are_no_utf_8(tmp_path):
    index = ShapeIndex(["a", "b\udcff"], {"shape": Vectors.of(torch.eye(2))}, "n")
    index.save(tmp_path / "a.safetensors")
    assert ShapeIndex.load(tmp_path / "a.safetensors").ids == ["a", "b\udcff"]


@pytest.mark.parametrize("names", ["[", DEEP, "3", "null"])
def test_an_index_with_broken_names_is_refused(tmp_path, names):
    tensors = {"ids": np.frombuffer(names.encode(), np.uint8), "shape.rows": np.eye(2, dtype=np.float32)}
    save_file(tensors, tmp_path / "a.safetensors", {"kind": search.KIND, "spaces": "shape", "network": "n"})
    with pytest.raises(InputError, match="is no index"):
        ShapeIndex.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])
def test_an_index_that_holds_no_directions_is_refused(monkeypatch, value):
    rows = torch.eye(3)
    rows[1, 1] = value
    index = ShapeIndex(["a", "b", "c"], {"shape": Vectors(rows)}, "n")
    monkeypatch.setattr(search, "fingerprint", lambda network: "n")
    monkeypatch.setattr(search, "_feature_of", lambda *given: torch.ones(3))
    model = types.SimpleNamespace(network=None, info=types.SimpleNamespace(path="x"))
    with pytest.raises(InputError, match="not finite; make it anew"):
        index.search(model, shape="a.obj", top=1)


def test_numbers_that_cannot_be_leave_the_rest_of_a_report(tmp_path):
    pytest.importorskip("plotly")
    run = tmp_path / "a\udcff"
    run.mkdir()
    lines = [
        {"split": "train", "epoch": epoch, "step": epoch, "loss": loss} for epoch, loss in ((1, 10**400), (2, 1.5))
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "result.json").write_text(json.dumps({"accuracy": 0.5, "accuracy_interval": [0.1, 10**400]}))
    write_report([run], tmp_path / "a.html", with_network=False)
    assert "1.5" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert json.loads(_dump({"a": [1.0, float("nan")], "b": {"c": float("inf")}})) == {
        "a": [1.0, None],
        "b": {"c": None},
    }
    for epoch in ("NaN", "Infinity", "1" + "0" * 400, "null"):
        (run / "metrics.jsonl").write_text(f'{{"split": "train", "epoch": {epoch}}}\n')
        with pytest.raises(InputError, match="is no record"):
            read_metrics(run / "metrics.jsonl")


def test_an_index_whose_basis_is_damaged_is_refused(tmp_path):
    basis = torch.eye(4)[:, :2]
    ShapeIndex(["a"], {"shape": Vectors.of(torch.ones(1, 4), basis)}, "n").save(tmp_path / "a.safetensors")
    assert len(ShapeIndex.load(tmp_path / "a.safetensors")) == 1
    basis[0, 0] = 1e30
    ShapeIndex(["a"], {"shape": Vectors(torch.ones(1, 2), basis=basis)}, "n").save(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="not orthonormal"):
        ShapeIndex.load(tmp_path / "a.safetensors")
