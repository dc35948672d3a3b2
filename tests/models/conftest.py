"""Small networks and clouds for the tests of models."""

import pytest
import torch

from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.losses.distillation import Distillation
from pointrecon.models.recon import ReCon


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
    """A function that makes a pretraining network; `encoder` has options of the encoder."""

    def make(encoder=None, **options):
        network = make_encoder(**({"stop_grad": True} | (encoder or {})))
        decoder = MaskedDecoder(network.embed_dim, 1, 3, network.group.group_size)
        teachers = {"image": Distillation(10), "text": Distillation(7)}
        return ReCon(network, decoder, **({"teachers": teachers} | options))

    return make
