"""Fixture folders that are not whole."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pointrecon.tools.checkpoints.parity_fixture import Fixture, read_arrays
from pointrecon.utils.errors import InputError
from tests import ROOT

FIXTURE = ROOT / "tests" / "fixtures" / "official_tiny"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(FIXTURE, tmp_path / "fixture"))


def save(folder, **arrays):
    with np.load(folder / "expected.npz") as file:
        np.savez(folder / "expected.npz", **{**file, **arrays})


@pytest.mark.parametrize("name", ["config.json", "expected.npz", "pretrain.pth"])
def test_a_missing_or_damaged_file(folder, name):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=name):
        Fixture(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name}.*does not exist"):
        Fixture(folder)


def test_a_missing_classifier(folder):
    (folder / "cls_full.pth").unlink()
    fixture = Fixture(folder)
    with pytest.raises(InputError, match="cls_full.pth.*does not exist"):
        fixture.make_classifier("full")
    shutil.copy(folder / "pretrain.pth", folder / "cls_full.pth")
    with pytest.raises(InputError, match="holds no classifier"):
        fixture.make_classifier("full")


@pytest.mark.parametrize(("key", "value", "message"), [("loss", "emd", "cdl1, cdl2"), ("depth", None, "lacks depth")])
def test_a_config_that_is_wrong(folder, key, value, message):
    config = json.loads((folder / "config.json").read_text())
    config = {name: old for name, old in (config | {key: value}).items() if old is not None}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        Fixture(folder)


def test_a_config_that_does_not_fit_the_weights(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"depth": 3}))
    with pytest.raises(InputError, match=r"model\.depth is 2 in the file and 3 here"):
        Fixture(folder).make_recon()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mask", np.zeros((4, 15), bool), r"\(4, 15\).*\(4, 16\)"),
        ("mask", np.eye(4, 16, dtype=bool) | (np.arange(4) == 1)[:, None], "as many masked groups"),
        ("mask", np.zeros((4, 16)), "must be bool"),
        ("points", np.zeros((4, 128, 2)), r"\(4, 128, 3\)"),
        ("text_feature", np.zeros((4, 21)), r"\(4, 20\)"),
    ],
)
def test_inputs_of_another_shape(folder, name, value, message):
    save(folder, **{name: value})
    with pytest.raises(InputError, match=message):
        Fixture(folder)


def test_inputs_are_needed(tmp_path):
    np.savez(tmp_path / "expected.npz", mask=np.zeros(3))
    with pytest.raises(InputError, match="lacks points"):
        read_arrays(tmp_path / "expected.npz")
