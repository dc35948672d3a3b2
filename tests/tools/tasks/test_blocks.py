"""Runs with another block: pretraining, and fine-tuning that takes the block from the checkpoint."""

import pytest
import torch

from pointrecon.tools.tasks.evaluate import EvaluateTask


@pytest.mark.parametrize("block", ["PreNormBlock", "MixerBlock"])
def test_pretrained_and_fine_tuned(launch, block):
    code, folder = launch("epochs=1", f"model.block={block}")
    assert code == 0
    start = folder / "ckpt-last.pth"
    code, folder = launch("task=classify", "epochs=1", "--ckpts", start, name="fine")
    assert code == 0 and f"model.block={block}" in (folder / "log.txt").read_text()
    one, other = (torch.load(path, weights_only=True)["base_model"] for path in (start, folder / "ckpt-last.pth"))
    assert {key for key in one if key.startswith("encoder.")} == {key for key in other if key.startswith("encoder.")}


def test_another_block_than_that_of_the_checkpoint(launch, capsys):
    code, folder = launch("epochs=1", "model.block=PreNormBlock")
    code, _ = launch("task=classify", "--ckpts", folder / "ckpt-last.pth", "model.block=ReConBlock", name="fine")
    assert code == 2 and "model.block is PreNormBlock in the file and ReConBlock here" in capsys.readouterr().err
    code, _ = launch("model.block=MixerBlock", "model.type=TwoTower", name="towers")
    assert code == 2 and "model.type=TwoTower has no use for it" in capsys.readouterr().err


def test_a_random_network_is_evaluated_with_statistics_of_training_objects(launch, monkeypatch):
    """Not with the mean 0 and the variance 1 that batch-norms start at; and nothing else of the run is touched."""
    seen = {}

    def look(self, split):
        norm = self.model.encoder.patch_embed.norm1
        seen["count"], seen["variance"] = int(norm.num_batches_tracked), float(norm.running_var.max())
        seen["training"] = self.model.training
        return {}

    monkeypatch.setattr(EvaluateTask, "evaluate", look)
    code, _ = launch("task=evaluate", "epochs=0", "evaluators.svm={}")
    assert code == 0 and seen["count"] > 1 and seen["variance"] < 0.1 and not seen["training"]
