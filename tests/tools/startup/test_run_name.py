"""Tests of a run that have its name: results beside, nothing overwritten."""

import json

import pytest


@pytest.fixture
def trained(launch):
    """A network that was trained under the name `run`: (its folder, the bytes of each of its files)."""
    code, folder = launch("task=classify", "epochs=1")
    assert code == 0
    return folder, {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_unchanged(trained):
    folder, before = trained
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_test_goes_beside_the_run_that_it_tests(launch, trained, capsys):
    checkpoint = trained[0] / "ckpt-last.pth"
    for name in ("test_run", "test_run-2"):
        code, _ = launch("task=classify", "--test", "--ckpts", checkpoint)
        assert code == 0
        result = json.loads((launch.folder(name) / "result.json").read_text())
        assert result["accuracy"] == json.loads((trained[0] / "result.json").read_text())["accuracy"]
    assert "'run' holds a run already: the results are put beside it" in capsys.readouterr().out
    assert_unchanged(trained)


def test_the_svm_too_and_overwriting_means_its_own_results(launch, trained):
    arguments = ["task=classify", "--svm", "evaluators.svm={}", "--ckpts", trained[0] / "ckpt-last.pth"]
    assert launch(*arguments)[0] == launch(*arguments, "--overwrite")[0] == 0
    assert (launch.folder("svm_run") / "result.json").is_file() and not launch.folder("svm_run-2").exists()
    assert_unchanged(trained)


def test_a_free_name_is_taken_as_it_is(launch, trained):
    code, folder = launch("task=classify", "--test", "--ckpts", trained[0] / "ckpt-last.pth", name="other")
    assert code == 0 and (folder / "result.json").is_file()


def test_training_does_not_move_aside(launch, trained, capsys):
    assert launch("task=classify", "epochs=1")[0] == 2
    assert "holds a run already" in capsys.readouterr().err
    assert_unchanged(trained)
