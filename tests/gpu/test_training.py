"""Runs on a GPU, in both precisions."""

import json

import pytest


@pytest.mark.gpu
@pytest.mark.parametrize("options", [["precision=bf16"], ["precision=bf16", "compile=true"], ["compile=true"]], ids=str)
def test_data_that_stays_on_the_gpu(launch, options):
    code, folder = launch("device=cuda", "data.device_resident=true", *options, "epochs=6")
    assert code == 0
    losses = [json.loads(line).get("loss") for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert losses[5] < losses[0]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_pretraining_and_fine_tuning(launch, precision):
    code, pretrained = launch("device=cuda", f"precision={precision}", "epochs=6", name="pretrain")
    assert code == 0
    losses = [json.loads(line).get("loss") for line in (pretrained / "metrics.jsonl").read_text().splitlines()]
    assert losses[5] < losses[0]
    options = ("task=classify", "device=cuda", f"precision={precision}", "--ckpts", pretrained / "ckpt-last.pth")
    code, folder = launch(*options, "epochs=2", name="finetune")
    assert code == 0 and json.loads((folder / "result.json").read_text())["num_objects"] == 15
