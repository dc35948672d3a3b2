"""The two-tower baseline and foreign checkpoints through main.py, on the miniature."""

import json

import pytest
import torch

from pointrecon.models.published.encoder import to_published
from pointrecon.models.two_tower import TwoTowerClassifier
from pointrecon.tools.build import build_classifier, build_pretrainer
from pointrecon.tools.training import runner
from pointrecon.tools.training.optim import parameter_groups
from pointrecon.utils.config import load_config
from tests import ROOT

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
    # The decoder is of another size here, but nothing reconstructs.
    options = ("task=evaluate", "epochs=0", "model.group_size=6", evaluators)
    code, folder = launch(*TOWERS, *options, *init, name="evaluate")
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


def test_the_published_size():
    cfg = load_config(ROOT / "cfgs" / "pretrain" / "twotower.yaml")
    model = build_pretrainer(cfg, {"image": 512, "text": 512})
    shapes = json.loads((ROOT / "tests" / "fixtures" / "published_keys.json").read_text())["two_tower"]
    published = to_published(model.state_dict())
    assert shapes["increase_dim.0.weight"] == list(published["increase_dim.0.weight"].shape)
    assert (
        len(model.encoder.blocks) == len(model.encoder.contrast_tower.blocks) == 12 and len(model.decoder.blocks) == 4
    )
    assert type(build_classifier(cfg, 15)) is TwoTowerClassifier and model.num_masked == 38


def test_the_rate_falls_with_depth_in_both_towers():
    cfg = load_config(ROOT / "cfgs" / "quickstart" / "finetune.yaml", ["model.type=TwoTower", "optim.layer_decay=0.5"])
    model = build_classifier(cfg, 5)
    scales = {id(x): group["lr_scale"] for group in parameter_groups(model, cfg["optim"]) for x in group["params"]}
    towers = (model.encoder, model.encoder.contrast_tower)
    found = [[scales[id(block.attn.qkv.weight)] for block in tower.blocks] for tower in towers]
    assert found[0] == found[1] == [0.5**row for row in range(len(found[0]) - 1, -1, -1)]


def test_mistakes(launch, pretrained, capsys):
    init = ("--ckpts", pretrained / "ckpt-last.pth")
    for arguments, message in (
        ((*TOWERS, "loss.contrast.weight=1"), "loss.contrast.weight"),
        (("task=classify", "classifier.stream=local"), "only model.type=TwoTower"),
        (("task=classify", "model.type=ReCon", *init), "model.type is TwoTower in the file and ReCon here"),
    ):
        code, folder = launch(*arguments, name="wrong")
        assert code == 2 and message in capsys.readouterr().err and not folder.exists()
