"""The published numbers of the open encoders and of their files; one that is wrong is found."""

import json
import shutil

import numpy as np
import pytest

from pointrecon.tools.open.parity import compare_open, is_open_fixture
from pointrecon.tools.open.parity_files import compare_files, is_file_fixture
from pointrecon.utils.errors import InputError
from tests import ROOT

ENCODERS = ROOT / "tests" / "fixtures" / "alternatives_tiny"
FILES = ROOT / "tests" / "fixtures" / "openshape_mini"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(ENCODERS, tmp_path / "fixture")


def change(folder, **arrays):
    with np.load(folder / "expected.npz") as file:
        kept = {name: file[name] for name in file.files}
    kept.update({name.replace("__", "."): value for name, value in arrays.items()})
    np.savez(folder / "expected.npz", **{name: value for name, value in kept.items() if value is not None})


def test_every_number_of_the_encoders():
    assert is_open_fixture(ENCODERS) and not is_open_fixture(FILES)
    done, skipped = compare_open(ENCODERS)
    assert len(done) == 23 and not skipped
    assert all(comparison.is_within for comparison in done)


def test_wrong_numbers_are_found_and_unknown_ones_named(folder):
    with np.load(folder / "expected.npz") as file:
        wrong, shape = file["uni3d.split.block.1"] + 1e-3, file["ulip2.embedding"][:, :-1]
    change(folder, uni3d__split__block__1=wrong, ulip2__embedding=shape, openshape__other=np.zeros(2))
    done, skipped = compare_open(folder)
    assert [one.name for one in done if not one.is_within] == ["uni3d.split.block.1", "ulip2.embedding"]
    assert skipped == ["openshape.other"]


def test_parts_that_are_not_there_are_not_compared(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"ulip2": config["ulip2"]}))
    done, skipped = compare_open(folder)
    assert {one.name.split(".")[0] for one in done} == {"ulip2"} and "uni3d.fused.tokens" in skipped
    (folder / "config.json").write_text(json.dumps({"openshape": {**config["openshape"], "radius": 0.1}}))
    assert any(not one.is_within for one in compare_open(folder)[0])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "uni3d_gelu.pth").unlink(), "uni3d_gelu.pth"),
        (lambda folder: (folder / "expected.npz").write_bytes(b"PK"), "expected.npz"),
        (lambda folder: (folder / "config.json").write_text('{"ulip2": {"heads": 5}}'), "ulip2.pth' cannot be used"),
        (lambda folder: (folder / "config.json").write_text('{"uni3d": {}, "x": 1}'), "give num_groups="),
        (lambda folder: shutil.copy(folder / "ulip2.pth", folder / "openshape.pth"), "no setting 'radius'"),
    ],
)
def test_what_is_wrong_is_said(folder, spoil, message):
    spoil(folder)
    with pytest.raises(InputError, match=message):
        compare_open(folder)


def test_files_are_read_as_the_published_loaders_read_them(tmp_path):
    assert is_file_fixture(FILES) and not is_file_fixture(ENCODERS)
    done, _ = compare_files(FILES)
    assert len(done) == 50 and all(one.is_within for one in done)
    copy = shutil.copytree(FILES, tmp_path / "fixture")
    expected = json.loads((copy / "expected.json").read_text())
    expected["objects"][3]["published_text_rows"] = [1]
    expected["lvis"]["labels"] = [0, 1]
    (copy / "expected.json").write_text(json.dumps(expected))
    wrong = [one.name for one in compare_files(copy)[0] if not one.is_within]
    assert wrong == ["00000000000000000000000000abc003.published_text_rows", "lvis.labels"]
    for text, message in (
        ("{}", "nothing to compare"),
        ("[]", "is no dict of results"),
        (json.dumps({"objects": [{"id": "gone"}]}), "the object 'gone' of '.*' is not in the lists or not there"),
    ):
        (copy / "expected.json").write_text(text)
        with pytest.raises(InputError, match=message):
            compare_files(copy)
    (copy / "meta_data" / "split" / "train_all.json").write_text('[{"id": "gone"}]')
    with pytest.raises(InputError, match="object 0 of '.*train_all.json' lacks 'id' or 'data_path'"):
        compare_files(copy)
