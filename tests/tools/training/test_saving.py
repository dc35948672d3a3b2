"""What is left of the checkpoints when a run has finished."""

import json

import pytest
import torch

from pointrecon.tools.training.saving import TRAINING_PARTS

OPTIONS = ("task=classify", "select=val", "data.val_fraction=0.3", "epochs=2", "save_every=3", "keep_epochs=[1]")


def parts(folder):
    return {
        path.name: not set(TRAINING_PARTS).isdisjoint(torch.load(path, weights_only=True))
        for path in sorted(folder.glob("ckpt-*.pth"))
    }


LEFT = {
    "weights": {"ckpt-best.pth": False, "ckpt-epoch-1.pth": True, "ckpt-last.pth": False},
    "resume": {"ckpt-best.pth": False, "ckpt-epoch-1.pth": True, "ckpt-last.pth": True},
    "all": {"ckpt-best.pth": True, "ckpt-epoch-1.pth": True, "ckpt-last.pth": True, "ckpt-previous.pth": True},
}


@pytest.mark.parametrize("keep", LEFT)
def test_what_is_left(launch, keep):
    code, folder = launch(*OPTIONS, f"keep={keep}")
    assert code == 0 and parts(folder) == LEFT[keep]
    assert (f"keep={keep}: " in (folder / "log.txt").read_text()) == (keep != "all")
    for name in LEFT[keep]:
        content = torch.load(folder / name, weights_only=True)
        assert {"base_model", "config", "epoch", "metrics", "best_metrics", "version"} <= content.keys()


def test_the_weights_are_what_they_were_and_take_a_third(launch):
    whole, small = (launch(*OPTIONS, f"keep={keep}", name=keep)[1] / "ckpt-last.pth" for keep in ("all", "weights"))
    a, b = (torch.load(path, weights_only=True)["base_model"] for path in (whole, small))
    assert a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())
    assert small.stat().st_size < 0.45 * whole.stat().st_size


def test_a_finished_run_that_is_resumed_is_evaluated_again_or_says_why_it_cannot_go_on(launch, capsys):
    _, folder = launch(*OPTIONS, "keep=weights")
    first = json.loads((folder / "result.json").read_text())
    (folder / "result.json").unlink()
    assert launch(*OPTIONS, "keep=weights", "--resume")[0] == 0
    again = json.loads((folder / "result.json").read_text())
    assert again["accuracy"] == first["accuracy"] and again["epoch"] == first["epoch"]
    assert "the run is finished, and is only evaluated again" in (folder / "log.txt").read_text()
    capsys.readouterr()
    more = [option.replace("epochs=2", "epochs=3") for option in OPTIONS]
    code, _ = launch(*more, "keep=weights", "--resume", "resume_changed=true")
    error = capsys.readouterr().err
    assert code == 2 and "finished after 2 epochs and kept its weights alone" in error and "--ckpts" in error


def test_with_keep_resume_more_epochs_can_follow(launch):
    launch(*OPTIONS, "keep=resume")
    more = [option.replace("epochs=2", "epochs=3") for option in OPTIONS]
    code, folder = launch(*more, "keep=resume", "--resume", "resume_changed=true")
    assert code == 0 and torch.load(folder / "ckpt-last.pth", weights_only=True)["epoch"] == 3


def test_an_interrupted_run_keeps_everything(launch, monkeypatch):
    from tests.tools.training.test_resume import Killed, kill_at

    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 7)
        launch(*OPTIONS, "keep=weights")
    assert all(parts(launch.folder("run")).values())
