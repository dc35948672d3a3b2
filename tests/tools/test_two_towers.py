"""The two-tower baseline and foreign checkpoints through main.py, on the miniature."""

import json

import pytest
import torch

from models.official import to_published
from tools import runner

TOWERS = ("model.type=TwoTower",)


def result(folder):
    return json.loads((folder / "result.json").read_text())


def weights(folder):
    return torch.load(folder / "ckpt-last.pth", weights_only=True)["base_model"]


@pytest.fixture
def pretrained(launch):
    code, folder = launch(*TOWERS, "epochs=2", name="pretrained")
    assert code == 0
    return folder


def test_pretrain_evaluate_and_classify(launch, pretrained):
    found = result(pretrained)
    assert {"train_chamfer", "train_image", "train_text"} <= found.keys() and "train_self" not in found
    init = ("--ckpts", pretrained / "ckpt-last.pth")
    evaluators = "evaluators={zero_shot: {}, svm: {}, embeddings: {}}"
    code, folder = launch(*TOWERS, "task=evaluate", "epochs=0", evaluators, *init, name="evaluate")
    assert code == 0 and {"zero_shot_accuracy", "svm_accuracy"} <= result(folder).keys()
    code, folder = launch(*TOWERS, "task=classify", "epochs=1", "classifier.stream=all", *init, name="classify")
    assert code == 0 and "class token (2)" in (folder / "log.txt").read_text()
    assert weights(folder)["head.0.weight"].shape[1] == 4 * 24


class Killed(BaseException):
    """Stands for a signal: nothing in the program may catch it."""


def test_a_killed_run_resumes_to_the_same_weights(launch, pretrained, monkeypatch):
    original = runner.Runner.train_step

    def train_step(self, *arguments):
        if self.state.step == 11:
            raise Killed
        original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(runner.Runner, "train_step", train_step)
        with pytest.raises(Killed):
            launch(*TOWERS, "epochs=2", name="killed")
    code, folder = launch(*TOWERS, "epochs=2", "--resume", name="killed")
    whole = weights(pretrained)
    assert code == 0 and all(torch.equal(value, whole[key]) for key, value in weights(folder).items())


def test_foreign_files_start_a_run(launch, pretrained, tmp_path):
    state = {
        key: x for key, x in to_published(weights(pretrained)).items() if not key.startswith(("Dis_", "img_", "text_"))
    }
    torch.save({"base_model": state}, tmp_path / "point-mae.pth")
    code, folder = launch("epochs=1", "--ckpts", tmp_path / "point-mae.pth", name="recon")
    assert code == 0 and "Point-MAE pretraining" in (folder / "log.txt").read_text()


def test_mistakes(launch, pretrained, capsys):
    init = ("--ckpts", pretrained / "ckpt-last.pth")
    for arguments, message in (
        ((*TOWERS, "loss.contrast.weight=1"), "loss.contrast.weight"),
        (("task=classify", "classifier.stream=local"), "only model.type=TwoTower"),
        (("task=classify", *init), "model.type is TwoTower in the file and ReCon here"),
    ):
        code, folder = launch(*arguments, name="wrong")
        assert code == 2 and message in capsys.readouterr().err and not folder.exists()
