"""The shell's way in and out, on a tiny network."""

import csv
import io
import json

import h5py
import numpy as np
import pytest

from pointrecon.tools.predict import command as predict


@pytest.fixture
def folder(tmp_path):
    for row in range(3):
        np.save(tmp_path / f"shape {row} é.npy", np.random.RandomState(row).randn(80, 3))
    return tmp_path


def call(*argv):
    return predict.main([str(item) for item in argv])


def test_embed_writes_rows_and_ids(folder, tiny_checkpoint):
    out = folder / "e.npz"
    assert call("embed", folder, "--ckpt", tiny_checkpoint, "--out", out) == 0
    with np.load(out) as file:
        assert file["embeddings"].shape == (3, 48) and file["embeddings"].dtype == np.float32
        assert [name.rsplit("/")[-1] for name in file["ids"]] == [f"shape {row} é.npy" for row in range(3)]


def test_a_broken_file_is_named_and_the_rest_goes_on(folder, tiny_checkpoint, caplog):
    caplog.set_level("INFO", logger="pointrecon.predict")
    (folder / "bad.npy").write_bytes(b"?")
    assert call("embed", folder / "*.npy", "--ckpt", tiny_checkpoint, "--out", folder / "e.h5", "--jobs", 2) == 1
    assert "bad.npy" in caplog.text and "3 read, 1 skipped" in caplog.text
    with h5py.File(folder / "e.h5") as file:
        assert file["embeddings"].shape == (3, 48)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_text_files(folder, tiny_checkpoint, suffix):
    out = folder / f"e{suffix}"
    assert call("embed", folder / "shape 0 é.npy", "--ckpt", tiny_checkpoint, "--out", out) == 0
    if suffix == ".csv":
        header, row = list(csv.reader(out.open(encoding="utf-8")))
        assert header[0] == "ids" and header[-1] == "embeddings_47" and len(row) == 49
    else:
        assert len(json.loads(out.read_text(encoding="utf-8"))["embeddings"]) == 48


def test_names_come_from_standard_input(folder, tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{folder / 'shape 1 é.npy'}\n"))
    assert call("embed", "-", "--ckpt", tiny_checkpoint) == 0
    assert json.loads(capsys.readouterr().out)["ids"].endswith("shape 1 é.npy")


def test_search_finds_the_shape_itself(folder, tiny_checkpoint, capsys):
    index, shape = folder / "i.npz", folder / "shape 2 é.npy"
    arguments = ("--ckpt", tiny_checkpoint, "--index", index, "--like", shape, "--top", 1)
    assert call("search", folder, "--build", *arguments) == 0
    hit = json.loads(capsys.readouterr().out)
    assert hit["ids"] == str(shape) and hit["score"] == pytest.approx(1, abs=1e-3)
    assert call("search", *arguments) == 0


def test_reconstruct_writes_points(folder, tiny_checkpoint):
    assert call("reconstruct", folder, "--ckpt", tiny_checkpoint, "--out", folder / "r.npz") == 0
    with np.load(folder / "r.npz") as file:
        assert file["rebuilt"].shape[0] == 3 and file["rebuilt"].shape[2] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("embed",), "no input is given"),
        (("embed", "x*.obj"), "no file fits 'x*.obj'"),
        (("embed", "a.obj", "--out", "e.xyz"), "must end with one of"),
        (("embed", "a.obj", "--out", "nowhere/e.npz"), "is not there; make it first"),
        (("embed", "a.obj", "--ckpt", "gone.pth"), "'gone.pth' is not there"),
        (("embed", "a.obj", "--upp", "z"), "unrecognized arguments: --upp"),
        (("classify", "a.obj", "--labels", ","), "names no label"),
        (("search", "--index", "gone.npz"), "gone"),
        (("search", "a.obj"), "only with --build"),
        (("draw", "a.obj"), "invalid choice"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message, tiny_checkpoint, capsys):
    if "--ckpt" not in arguments and arguments[0] != "draw":
        arguments = (*arguments, "--ckpt", tiny_checkpoint)
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
