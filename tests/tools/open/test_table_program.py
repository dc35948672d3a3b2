"""The table's program on miniature files of every layout."""

import importlib.util
import json

import numpy as np
import pytest

from pointrecon.datasets.open.zero_shot import find_zero_shot_sets
from tests import ROOT
from tests.datasets.open.layouts import MINI, make_ulip, make_uni3d

MODELS = ROOT / "tests" / "fixtures" / "alternatives_tiny"
CUT = ["--option", "num_heads=3", "--option", "num_groups=8", "--option", "group_size=8", "--device", "cpu"]


@pytest.fixture
def run(monkeypatch, capsys):
    """run(*arguments) -> exit code, stdout, stderr."""
    spec = importlib.util.spec_from_file_location("zero_shot_table", ROOT / "scripts" / "zero_shot_table.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["zero_shot_table.py", *map(str, arguments)])
        return program.exit_code(program.main), *capsys.readouterr()

    return call


@pytest.fixture
def features(tmp_path):
    """A file with features of every class that the miniatures have."""
    names = sorted({name for one in find_zero_shot_sets(MINI) for name in one.class_names} | {"Bible"})
    np.savez(tmp_path / "classes.npz", names=names, features=np.random.RandomState(0).randn(len(names), 40))
    return tmp_path / "classes.npz"


def test_every_layout(run, features, tmp_path):
    folders = [MINI, make_uni3d(tmp_path / "a"), make_ulip(tmp_path / "b")]
    out = tmp_path / "out"
    code, text, err = run(
        MODELS / "ulip2.pth", "--data", *folders, *CUT, "--class-features", features, "--robustness", "--out", out
    )
    assert code == 0, err
    rows = [line for line in text.splitlines() if line.startswith("| ulip2 |")]
    assert len(rows) == 16  # eight sets, two conventions of the axes
    assert sum("| y | 2 | 2 |" in row for row in rows) == 2  # LVIS of OpenShape and of Uni3D
    assert text.splitlines()[0].count("|") == 16 and "1 objects without a class were left out" in text
    assert (out / "zero_shot.md").read_text() == text and "tabular" in (out / "zero_shot.tex").read_text()
    scores = json.loads((out / "zero_shot.json").read_text())
    assert len(scores) == 8 * (2 + 5) and {score["change"] for score in scores} >= {"as stored", "any rotation"}


def test_training_objects_are_told_apart(run, features):
    listed = MINI / "meta_data" / "split" / "train_no_lvis.json"
    arguments = ("one=" + str(MODELS / "ulip2.pth"), "--data", MINI, *CUT, "--class-features", features, "--up", "y")
    code, text, _ = run(*arguments, "--sets", "Objaverse-LVIS", "--trained-on", listed)
    assert code == 0 and "| one | Objaverse-LVIS, shapes not seen in training | y | 2 |" in text
    code, text, _ = run(*arguments, "--sets", "ModelNet40", "--limit", "2")
    assert code == 0 and "| one | ModelNet40 | y | 2 | 3 |" in text and "2 of 3 objects" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "is no folder"),
        (["--data", MINI, "--sets", "ShapeNet"], "no set of --sets ShapeNet"),
        (["--data", MINI, "--option", "num_heads"], "KEY=NUMBER"),
        (["--data", MINI, *CUT], "label_features"),
        (["--data", MINI, *CUT, "--class-features", MINI / "gone.npz"], "gone.npz' does not exist"),
        (["--data", MINI, "--limit", "0"], "--limit is 0"),
        ([], "--data"),
    ],
)
def test_bad_input_is_one_sentence(run, arguments, message):
    code, out, err = run(MODELS / "ulip2.pth", *arguments)
    assert code == 2 and not out and message in err and err.startswith("error: ") and err.count("\n") == 1


def test_classes_that_would_have_equal_scores_are_refused(run, features, tmp_path):
    folder = make_uni3d(tmp_path / "a")
    (listed,) = folder.rglob("modelnet40_shape_names.txt")
    listed.write_text(listed.read_text() + "airplane\n")
    arguments = (MODELS / "ulip2.pth", *CUT, "--sets", "ModelNet40", "--class-features")
    code, _, err = run(*arguments, features, "--data", folder)
    assert code == 2 and "has 'airplane' twice" in err
    names = ["airplane", "bathtub", "night_stand"]
    values = np.random.RandomState(0).randn(4, 40)
    for rows, known, message in ((values, [*names, "airplane"], "there twice"), (0 * values[:3], names, "all zero")):
        np.savez(tmp_path / "classes.npz", names=known, features=rows)
        code, out, err = run(*arguments, tmp_path / "classes.npz", "--data", MINI)
        assert code == 2 and not out and message in err and err.count("\n") == 1
