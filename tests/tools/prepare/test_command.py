"""The commands on a small folder: what they say, what they write, and that Folder reads it."""

import csv

import h5py
import numpy as np
import pytest
from PIL import Image

from pointrecon.datasets.folder.folder import Folder
from pointrecon.datasets.opening import open_split
from pointrecon.datasets.splits import Choice
from pointrecon.tools.predict import command as predict
from pointrecon.tools.prepare import command, render
from pointrecon.tools.prepare import sheet as sheet_module
from pointrecon.utils.errors import InputError


def test_folder_says_what_is_there_and_writes_a_split(own, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sheet_module, "COLUMNS", 2)
    monkeypatch.setattr(sheet_module, "NUM_SHAPES", 4)
    table, sheet = tmp_path / "split.csv", tmp_path / "sheet.png"
    arguments = ["folder", str(own), "--split", "--out", str(table), "--sheet", str(sheet), "--jobs", "2"]
    assert command.run(arguments) == 1  # a file was skipped
    said = capsys.readouterr().out
    assert "14 shapes (.xyz 14) of 2 classes; 1 files skipped" in said and "skipped rod/broken.ply: " in said
    assert "confidence" in said and "2 near copies" in said and str(table) in said
    rows = {row["path"]: row for row in csv.DictReader(table.open(encoding="utf-8"))}
    assert len(rows) == 14 and {row["split"] for row in rows.values()} == {"train", "test"}
    for name in ("rod", "plate"):
        assert rows[f"{name}/{name} again.xyz"]["split"] == rows[f"{name}/{name} no0.xyz"]["split"]
    data = Folder(str(own), table=str(table), jobs=2)
    assert dict(zip(data.ids, data.split_of, strict=True)) == {name: row["split"] for name, row in rows.items()}
    picture = np.asarray(Image.open(sheet).convert("RGB"))
    assert picture.shape[1] == 356 and 0.05 < (picture < 200).any(2).mean() < 0.9
    with pytest.raises(InputError, match="is there already"):
        command.run(arguments)
    assert command.run([*arguments, "--overwrite", "--up", "y"]) == 1
    assert "up is y, as given" in capsys.readouterr().out


def test_pack_and_read_again(own, tmp_path, capsys):
    out = tmp_path / "own.h5"
    assert command.run(["pack", str(own), "--out", str(out), "--num_points", "64", "--pictures", "--up", "z"]) == 1
    assert f"{out}: 14 shapes" in capsys.readouterr().out
    there, packed = Folder(str(own), up="z", images=True), Folder(str(out), images=True)
    assert packed.ids == there.ids and packed.class_names == there.class_names
    assert (packed.labels == there.labels).all() and list(packed.split_of) == list(there.split_of)
    np.testing.assert_allclose(packed[3]["points"], there[3]["points"][:64], atol=1e-3)
    assert (packed[3]["image"] == there[3]["image"]).all()
    for arguments, message in (
        (["--out", str(tmp_path / "a.npz")], "must end with"),
        (["--out", str(out), "--num_points", "9"], "must be 16 to"),
        (["--out", str(tmp_path / "no" / "a.h5"), "--up", "w"], "invalid choice"),
    ):
        with pytest.raises(InputError, match=message):
            command.run(["pack", str(own), *arguments])


def test_render_draws_pictures_and_asks_for_what_is_missing(own, tmp_path, monkeypatch, capsys):
    assert command.run(["render", str(own), "--png", str(tmp_path / "png"), "--no_teachers"]) == 1
    assert "14 pictures" in capsys.readouterr().out
    assert Image.open(tmp_path / "png" / "rod" / "rod no3.xyz.png").size == (128, 128)
    monkeypatch.setattr(render, "PACKAGES", ("no_such_package",))
    with pytest.raises(InputError, match="14 pictures are drawn, but the teachers need no_such_package"):
        command.run(["render", str(own)])


def test_render_makes_the_features_that_training_looks_for(own, monkeypatch):
    from pointrecon.models.teachers import TEACHERS

    seen = {}

    def cache_features(args):
        seen.update(vars(args))
        return (own / "x.h5", 14)

    monkeypatch.setattr(render, "cache_features", cache_features)
    assert render.make_features(str(own), {"up": "z"}, num_views=2, num_templates=3, jobs=1) == own / "x.h5"
    assert seen["data"] == "Folder" and seen["options"]["up"] == "z" and seen["views"] == 2
    assert {pair.split("=")[1] for pair in (seen["image"][0], seen["text"][0])} <= set(TEACHERS.names())
    for root, count in ((own, 14), (own / "rod", 7)):  # the latter has no classes, and so no test part
        datasets = [open_split("Folder", str(root), Choice(split=split), seen["options"]) for split in seen["splits"]]
        assert sum(len(dataset) for dataset in datasets) == count


@pytest.mark.parametrize("kind", command.KINDS)
def test_each_kind_has_help(kind, capsys):
    with pytest.raises(SystemExit) as end:
        command.run([kind, "--help"], prog="pointrecon prepare")
    assert end.value.code == 0 and f"pointrecon prepare {kind}" in capsys.readouterr().out


def test_pointrecon_prepare_is_the_same(own, tmp_path, capsys):
    out = tmp_path / "own.h5"
    assert predict.main(["prepare", "pack", str(own), "--out", str(out), "--num_points", "32"]) == 1
    with h5py.File(out) as file:
        assert file["points"].shape == (14, 32, 3)
    assert predict.main(["prepare", "folder", str(tmp_path / "nowhere")]) == 2
    assert "is not there" in capsys.readouterr().err
