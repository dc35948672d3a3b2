"""The counted arithmetic against torch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pointrecon.extensions import use_backend
from pointrecon.models.reconpp.work import flops_of_embedding, flops_of_step
from pointrecon.tools.build import build_pretrainer
from pointrecon.utils.config import load_config
from tests import ROOT

SIZES = ["model.embed_dim=64", "model.num_heads=4", "model.decoder_num_heads=4", "model.depth=2", "data.num_points=200"]
SIZES += ["model.num_groups=32", "model.group_size=16"]


@pytest.fixture(autouse=True)
def reference():
    """The CPU library's own kernels are no operations that torch could count."""
    use_backend("reference")
    yield
    use_backend(None)


@pytest.mark.parametrize("name", ["zeroshot_base", "transfer_small", "transfer_base"])
def test_a_forward_pass(name):
    cfg = load_config(ROOT / "cfgs" / "reconpp" / f"{name}.yaml", SIZES)
    network = build_pretrainer(cfg, {"image": 24, "text": 24}).eval().requires_grad_(False)
    points = torch.rand(2, 200, network.encoder.channels)
    patches, centers = network.encoder.group(points)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.encoder(patches, centers)
    width = network.encoder.patch_embed.fc3.in_features
    a_batch = 2 * width * width // 2 * width // 4  # two weights are multiplied into one, once a batch
    counted = (counter.get_total_flops() - a_batch) / len(points)
    assert counted == pytest.approx(flops_of_embedding(cfg["model"]), rel=0.02)


def test_a_step_is_three_passes_through_encoder_and_decoder():
    cfg = load_config(ROOT / "cfgs" / "reconpp" / "zeroshot_base.yaml")
    seen = flops_of_embedding(cfg["model"], 154, 16)
    assert 3 * seen < flops_of_step(cfg["model"]) < 6 * seen
