"""The shell's way in and out, on a tiny network."""

import csv
import errno
import io
import json
import os
import sys

import h5py
import numpy as np
import pytest

from pointrecon.tools.predict import command as predict
from tests.miniature import CLASSES


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
    index, shape = folder / "i.index", folder / "shape 2 é.npy"
    arguments = ("--ckpt", tiny_checkpoint, "--index", index, "--like", shape, "--top", 1)
    assert call("search", folder, "--build", *arguments) == 0
    hit = json.loads(capsys.readouterr().out)
    assert hit["ids"] == str(shape) and hit["score"] == pytest.approx(1, abs=1e-3)
    assert call("search", *arguments) == 0


def test_what_is_not_there_is_named_and_the_rest_goes_on(folder, tiny_checkpoint, monkeypatch, caplog):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{folder / 'gone.obj'}\n\n{folder / 'shape 1 é.npy'}\n"))
    assert call("embed", "-", "--ckpt", tiny_checkpoint, "--out", folder / "e.npz") == 1
    assert "gone.obj" in caplog.text and "1 read, 1 skipped" in caplog.text


def test_parquet(folder, tiny_checkpoint):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert call("embed", folder, "--ckpt", tiny_checkpoint, "--out", folder / "e.parquet") == 0
    table = parquet.read_table(folder / "e.parquet").to_pydict()
    assert len(table["ids"]) == 3 and len(table["embeddings"][0]) == 48
    assert call("reconstruct", folder / "*.npy", "--ckpt", tiny_checkpoint, "--out", folder / "r.parquet") == 0


def test_parquet_needs_its_package(folder, tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert call("embed", folder, "--ckpt", tiny_checkpoint, "--out", folder / "e.parquet") == 2
    assert "needs the package pyarrow" in capsys.readouterr().err and not list(folder.glob("*parquet"))


def test_classes_of_a_trained_head(folder, classifier_checkpoint, capsys):
    """Three files and three classes: what belongs to a file and what to a class is told apart."""
    assert call("classify", folder, "--ckpt", classifier_checkpoint, "--html", folder / "p.html") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 3 and all(set(row) == {"ids", "labels", "scores"} for row in rows)
    assert all(row["labels"] == max(row["scores"], key=row["scores"].get) for row in rows)
    assert list(rows[0]["scores"]) == CLASSES
    page = (folder / "p.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") == 3 and "shape 2 é.npy" in page and "<script" not in page
    assert call("classify", folder / "shape*", "--ckpt", classifier_checkpoint, "--out", folder / "c.csv") == 0
    header = (folder / "c.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "ids,labels,scores_ball,scores_plate,scores_rod"


def test_a_pretraining_checkpoint_needs_labels(folder, tiny_checkpoint, capsys):
    assert call("classify", folder, "--ckpt", tiny_checkpoint) == 2
    assert "no trained classification head; give labels" in capsys.readouterr().err


def test_a_page_of_hits(folder, tiny_checkpoint):
    (folder / "a & b.npy").write_bytes((folder / "shape 0 é.npy").read_bytes())
    page, index = folder / "hits.html", folder / "i.index"
    arguments = ("--ckpt", tiny_checkpoint, "--index", index, "--like", folder / "shape 0 é.npy", "--html", page)
    assert call("search", folder, "--build", *arguments, "--top", 4) == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("<img") == 4 and "a &amp; b.npy" in text and "1.000" in text
    (folder / "a & b.npy").unlink()
    assert call("search", *arguments, "--top", 4) == 0
    assert "no picture" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_leaves_nothing_half_written(folder, tiny_checkpoint, monkeypatch, capsys, code):
    def fail(file, **arrays):
        file.write(b"half")
        raise OSError(code, os.strerror(code))

    (folder / "e.npz").write_bytes(b"old")
    monkeypatch.setattr(np, "savez", fail)
    assert call("embed", folder / "shape*", "--ckpt", tiny_checkpoint, "--out", folder / "e.npz") == 2
    assert os.strerror(code).lower() in capsys.readouterr().err
    assert (folder / "e.npz").read_bytes() == b"old" and len(list(folder.iterdir())) == 4


def test_a_folder_that_cannot_be_written_is_found_out_before_the_work(folder, tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert call("embed", folder, "--ckpt", tiny_checkpoint, "--out", folder / "e.npz") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_reconstructions_as_a_picture(folder, tiny_checkpoint):
    assert call("reconstruct", folder, "--ckpt", tiny_checkpoint, "--out", folder / "r.png") == 0
    assert (folder / "r.png").read_bytes().startswith(b"\x89PNG")


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
        (("search", "--index", "gone.npz", "--words", "a"), "gone"),
        (("search",), "nothing to search for"),
        (("search", "--words", "a", "--html", "a.txt"), "must end with one of: .html"),
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
