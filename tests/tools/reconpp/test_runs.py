"""ReCon++ from end to end through main.py: pretraining, fine-tuning, evaluation, part by part."""

import json

import pytest
import torch

PLUS = ["model.type=ReConPP", "model.queries={cls: 0, image: 2, text: 2}", "model.patch_width=16"]
PLUS += ["loss.chamfer.type=both", "teachers.image.draws=2", "teachers.text.draws=2"]
PLUS += [f"loss.{name}.{key}" for name in ("image", "text") for key in ("type=matched", "weight=320", "normalize=true")]


def numbers(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def pretrain(launch):
    def run(*changes, name="pre"):
        return launch(*PLUS, *changes, name=name)

    return run


@pytest.mark.parametrize("mask_type", ["random", "causal"])
def test_pretraining_lowers_its_losses_and_is_evaluated(pretrain, mask_type):
    code, folder = pretrain(
        f"model.mask_type={mask_type}",
        "model.colors=true",
        "model.large_embedding=false",
        "epochs=4",
        "log_every=1",
        "evaluators={zero_shot: {query: text}, svm: {}}",
    )
    assert code == 0
    losses = [line for line in numbers(folder) if "train/loss" in line or "loss" in line]
    first, last = losses[0], losses[-1]
    key = next(name for name in first if name.endswith("loss"))
    assert last[key] < first[key]
    result = json.loads((folder / "result.json").read_text())
    assert "zero_shot_accuracy" in json.dumps(result)


def test_stages_and_fine_tuning_with_the_reconstruction(pretrain, launch):
    causal = ["model.mask_type=causal", "model.stop_grad=true", "epochs=1"]
    code, first = pretrain(*causal, "model.step=reconstruct", name="one")
    assert code == 0
    code, second = pretrain(*causal, "model.step=contrast", f"init={first / 'ckpt-last.pth'}", name="two")
    assert code == 0
    one, two = (torch.load(x / "ckpt-last.pth", weights_only=True)["base_model"] for x in (first, second))
    for key in one:
        if ".local." in key or key.startswith("decoder."):
            assert torch.equal(one[key], two[key]), key  # stop_grad: the contrast does not reach them
    assert not torch.equal(one["encoder.global_query"], two["encoder.global_query"])
    changes = ["task=classify", "classifier.rebuild_weight=3", f"init={second / 'ckpt-last.pth'}", "epochs=1"]
    code, folder = launch(*changes, "optim.head_lr_scale=10", name="fine")
    assert code == 0
    tuned = torch.load(folder / "ckpt-last.pth", weights_only=True)["base_model"]
    assert "cls_token" in tuned and any("chamfer" in key for line in numbers(folder) for key in line)
    code, _ = launch(
        "task=classify", "classifier.rebuild_weight=3", "epochs=0", f"init={folder / 'ckpt-last.pth'}", name="test"
    )
    assert code == 0


def test_mistakes_are_one_sentence(pretrain, launch, capsys):
    assert pretrain("model.step=contrast", "teachers={image: null, text: null}")[0] == 2
    assert "there is no teacher" in capsys.readouterr().err
    assert launch("model.mask_type=causal")[0] == 2
    assert "model.mask_type" in capsys.readouterr().err
    assert launch("model.colors=true")[0] == 2
    assert "has no use for it" in capsys.readouterr().err
    assert launch("task=classify", "classifier.rebuild_weight=3")[0] == 2
    assert "rebuilds nothing" in capsys.readouterr().err
    assert pretrain("teachers.image.cached=false", "teachers.image.type=TimmTeacher")[0] == 2
