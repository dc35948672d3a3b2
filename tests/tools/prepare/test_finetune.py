"""Fine-tuning on a folder in one command, with a tiny network."""

import csv
import json
import os
import subprocess

import numpy as np
import pytest

from pointrecon.datasets.folder.folder import Folder
from pointrecon.tools.checkpoints.checkpoint import read_checkpoint
from pointrecon.tools.prepare import finetune
from pointrecon.tools.prepare.figures import collect, format_report
from pointrecon.utils.errors import InputError
from tests import ROOT
from tests.programs import call_module

PROGRAM = "pointrecon.tools.prepare.finetune"
TINY = ("model.embed_dim=24", "model.depth=2", "model.num_heads=2", "model.num_groups=8", "model.group_size=4")
TINY += ("data.num_points=48", "epochs=1", "device=cpu")


@pytest.fixture(scope="module")
def done(own, tmp_path_factory):
    """(experiments, what was said) after one run, from a folder of the user's own."""
    root = tmp_path_factory.mktemp("finetuned")
    result = call_module(PROGRAM, own, "--from_scratch", "--up", "y", *TINY, cwd=root)
    assert result.returncode == 0, result.stderr[-2000:]
    return root / "experiments", result.stdout


def test_the_script_hands_on_what_it_is_given(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\nexit 3\n')
    python.chmod(0o755)
    command = ["bash", str(ROOT / "scripts" / "finetune_own.sh"), "my shapes", "--up", "y", "epochs=1"]
    environment = {**os.environ, "PYTHON": str(python)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 3
    assert result.stdout.splitlines() == [str(tmp_path), "-m", PROGRAM, "my shapes", "--up", "y", "epochs=1"]


def test_it_says_how_good_it_is_and_how_to_use_it(done):
    root, said = done
    report = json.loads((root / "own" / "shapes" / "report.json").read_text())
    low, high = report["accuracy_interval"]
    assert 0 <= low <= report["accuracy"] <= high <= 1 and report["num_test"] == 2 and report["num_train"] == 12
    assert np.sum(report["confusion"]) == 2 and "2 shapes say little" in said and "95 % interval" in said
    assert "pointrecon classify FILES --ckpt" in said and "1 files skipped" in said
    assert (root / "own" / "shapes" / "sheet.png").is_file()
    wrong = round(2 * (1 - report["accuracy"]))
    assert len(report["mistakes"]) == wrong
    assert (root / "own" / "shapes" / "mistakes.png").is_file() == bool(wrong)


def test_the_checkpoint_knows_its_classes(done):
    content = read_checkpoint(done[0] / "finetune" / "own" / "shapes" / "ckpt-last.pth")
    assert content["class_names"] == ["plate", "rod"] and content["config"]["data"]["type"] == "Folder"


def test_the_split_keeps_copies_together_and_may_be_edited(done, own, capsys):
    root = done[0]
    table = root / "own" / "shapes" / "split.csv"
    rows = list(csv.DictReader(table.open()))
    split = {row["path"]: row["split"] for row in rows}
    assert split["rod/rod no0.xyz"] == split["rod/rod again.xyz"]
    edited = table.read_text().replace(",train", ",test", 3)
    table.write_text(edited)
    words = [str(own), "--from_scratch", "--up", "y", "--root", str(root), *TINY]
    plan, data, lines = finetune.make_plan(finetune.parse(words))
    assert table.read_text() == edited and plan.num_test == 5 and plan.num_train == 9
    assert plan.run.folder() == root / "finetune" / "own" / "shapes"


def test_settings_grow_with_the_folder():
    steps = []
    for count in (50, 400, 2000, 10_000, 50_000):
        epochs, batch = finetune.settings_for(count)
        steps.append(epochs * (count // batch))
    assert steps == sorted(steps) and 300 <= steps[0] and steps[-1] <= 6000
    with pytest.raises(InputError, match="3 shapes to train on"):
        finetune.settings_for(3)


def test_the_report_names_what_is_confused(tmp_path):
    (tmp_path / "result.json").write_text('{"accuracy": 0.5, "mean_class_accuracy": 0.5}')
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
    arrays = {"labels": [0, 1, 1, 1], "predictions": [0, 0, 0, 1], "class_names": ["ball", "rod"], "ids": list("abcd")}
    np.savez(tmp_path / "predictions.npz", probabilities=probabilities, **arrays)

    class Data:
        labels = np.array([0, 1, 1, 1])

    report = collect(tmp_path, Data(), num_train=4)
    assert report["confusion"] == [[1, 0], [2, 1]] and report["most_frequent_class"] == 0.75
    assert [item["id"] for item in report["mistakes"]] == ["b", "c"]
    assert "rod" in format_report(report) and "0.80 b: rod taken for ball" in format_report(report)


def test_what_cannot_be_used_is_one_sentence(own, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pointrecon.tools.api.catalogue.MODELS", ())
    base = [str(own), "--root", str(tmp_path)]
    for words, message in (
        (base, "the weights 'pointrecon-small' are not here"),
        ([*base, str(tmp_path / "no.pth")], "is not there"),
        ([*base, "x.pth", "--from_scratch"], "leave one out"),
        ([*base, "x.pth", "word"], "'word' is not known here"),
        ([str(own / "rod"), "--from_scratch", "--root", str(tmp_path)], "a classifier needs 2"),
    ):
        assert finetune.main(words) == 2
        error = capsys.readouterr().err
        assert message in error.splitlines()[-1], error
    assert not list(tmp_path.iterdir())


def test_a_folder_with_splits_of_its_own_keeps_them(tmp_path):
    for split in ("train", "test"):
        for name in ("ball", "rod"):
            (tmp_path / "f" / name / split).mkdir(parents=True)
            for row in range(3):
                cloud = np.random.RandomState(row + 10 * (split == "test") + 20 * (name == "rod")).randn(40, 3)
                np.save(tmp_path / "f" / name / split / f"{split}{row}.npy", cloud)
    words = [str(tmp_path / "f"), "--from_scratch", "--root", str(tmp_path), "--jobs", "1"]
    plan, data, _ = finetune.make_plan(finetune.parse(words))
    assert plan.num_test == 6 and plan.num_train == 6 and isinstance(data, Folder)
    assert not any("options.table" in word for word in plan.run.arguments)
