"""Small networks and clouds for the tests of models."""

import pytest
import torch

from pointrecon.models.encoder import PointEncoder
from pointrecon.models.recon import ReCon

DISTILLATION = {"type": "smooth_l1", "weight": 1.0, "temperature": 0.1, "normalize": False}
LOSS = {
    "chamfer": {"type": "l2", "weight": 1.0},
    "image": DISTILLATION,
    "text": DISTILLATION,
    "contrast": {"weight": 0.0, "temperature": 0.1, "dim": 16},
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def points():
    """(4, 60, 3)."""
    return torch.randn(4, 60, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def make_encoder():
    """A function that makes an encoder of width 24, with 2 blocks, 3 heads and 8 groups of 5 points."""

    def make(**options):
        sizes = {"embed_dim": 24, "depth": 2, "num_heads": 3, "num_groups": 8, "group_size": 5, "drop_path": 0.0}
        return PointEncoder(**(sizes | options))

    return make


@pytest.fixture
def make_recon(make_encoder):
    """A function that makes a pretraining network; `encoder` has options of the encoder, `loss` whole sections."""

    def make(encoder=None, loss=None, **options):
        defaults = {
            "decoder_depth": 1,
            "decoder_num_heads": 3,
            "decoder_drop_path": 0.0,
            "mask_ratio": 0.6,
            "mask_type": "random",
            "image_dim": 10,
            "text_dim": 7,
        }
        network = make_encoder(**({"stop_grad": True} | (encoder or {})))
        return ReCon(network, loss=LOSS | (loss or {}), **(defaults | options))

    return make
