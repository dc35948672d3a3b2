"""A small ReCon++ network of either variant."""

import pytest
import torch

from pointrecon.models.losses.distillation import Distillation, matched_distillation
from pointrecon.models.reconpp.decoder import ReConPPDecoder
from pointrecon.models.reconpp.encoder import ReConPPEncoder
from pointrecon.models.reconpp.network import ReConPP

SIZES = {"embed_dim": 16, "depth": 2, "num_heads": 2, "num_groups": 12, "group_size": 4, "drop_path": 0.0}


@pytest.fixture
def make_network():
    """make(mask_type, step="all", **of the encoder) -> a network with 4 image and 2 text queries."""

    def make(mask_type="random", step="all", dim=6, **options):
        torch.manual_seed(0)
        sizes = {**SIZES, "queries": {"image": 4, "text": 2}, "patch_width": 16, "mask_type": mask_type, **options}
        encoder = ReConPPEncoder(**sizes)
        decoder = ReConPPDecoder(
            sizes["embed_dim"], 2, 2, sizes["group_size"], mask_type=mask_type, colors=options.get("colors", False)
        )
        teachers = {name: Distillation(dim, matched_distillation, 5.0, normalize=True) for name in ("image", "text")}
        return ReConPP(encoder, decoder, mask_type=mask_type, teachers=teachers, step=step)

    return make


@pytest.fixture
def points():
    """(3, 40, 6)."""
    generator = torch.Generator().manual_seed(1)
    return torch.cat([torch.randn(3, 40, 3, generator=generator), torch.rand(3, 40, 3, generator=generator)], dim=-1)


@pytest.fixture
def targets():
    """4 views and 2 texts of 3 shapes; the second shape has 2 views, the third one no text."""
    generator = torch.Generator().manual_seed(2)
    features = {name: torch.randn(3, rows, 6, generator=generator) for name, rows in (("image", 4), ("text", 2))}
    features["image"][1, 2:] = 0
    features["text"][2] = 0
    return features | {f"{name}_mask": (x != 0).any(dim=-1) for name, x in features.items()}
