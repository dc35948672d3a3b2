"""Key names of published part-segmentation checkpoints."""

import pytest
import torch

from pointrecon.models.classifier import PointClassifier
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.published.encoder import to_published
from pointrecon.models.published.segmenter import (
    from_published_segmenter,
    is_published_segmenter,
    to_published_segmenter,
)
from pointrecon.models.segmenter import PointSegmenter

WIDTH, DEPTH = 384, 12
# Layer -> (outputs, inputs); all with a bias and a kernel of size 1 unless said otherwise.
CONVS = {
    "encoder.first_conv.0": (128, 3),
    "encoder.first_conv.3": (256, 128),
    "encoder.second_conv.0": (512, 512),
    "encoder.second_conv.3": (WIDTH, 512),
    "propagation_0.mlp_convs.0": (1536, 1155),
    "propagation_0.mlp_convs.1": (1024, 1536),
    "convs1": (512, 3776),
    "convs2": (256, 512),
    "convs3": (50, 256),
}
LINEARS = {"pos_embed.0": (128, 3), "pos_embed.2": (WIDTH, 128)}
BATCH_NORMS = {
    "encoder.first_conv.1": 128,
    "encoder.second_conv.1": 512,
    "label_conv.1": 64,
    "propagation_0.mlp_bns.0": 1536,
    "propagation_0.mlp_bns.1": 1024,
    "bns1": 512,
    "bns2": 256,
}


def published_shapes():
    """Key -> shape of the published checkpoint with 50 parts and 16 categories."""
    shapes = {f"{query}_{kind}": (1, 1, WIDTH) for query in ("cls", "img", "text") for kind in ("token", "pos")}
    shapes["label_conv.0.weight"] = (64, 16, 1)
    linears = dict(LINEARS)
    for suffix in ("", "_contrast"):
        for block in (f"blocks.blocks.{number}." for number in range(DEPTH)):
            shapes |= {f"{block}norm{i}{suffix}.{kind}": (WIDTH,) for i in (1, 2) for kind in ("weight", "bias")}
            linears[f"{block}mlp{suffix}.fc1"] = (4 * WIDTH, WIDTH)
            linears[f"{block}mlp{suffix}.fc2"] = (WIDTH, 4 * WIDTH)
            linears[f"{block}attn{suffix}.proj"] = (WIDTH, WIDTH)
    for block in (f"blocks.blocks.{number}." for number in range(DEPTH)):
        shapes[f"{block}attn.qkv.weight"] = (3 * WIDTH, WIDTH)
        shapes[f"{block}attn_contrast.q.weight"] = (WIDTH, WIDTH)
        shapes[f"{block}attn_contrast.kv.weight"] = (2 * WIDTH, WIDTH)
    shapes |= {f"norm.{kind}": (WIDTH,) for kind in ("weight", "bias")}
    for kernel, layers in (((1,), CONVS), ((), linears)):
        shapes |= {f"{name}.weight": size + kernel for name, size in layers.items()}
        shapes |= {f"{name}.bias": size[:1] for name, size in layers.items()}
    for name, width in BATCH_NORMS.items():
        shapes |= {f"{name}.{kind}": (width,) for kind in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{name}.num_batches_tracked"] = ()
    return shapes


@pytest.fixture
def model(make_encoder):
    model = PointSegmenter(make_encoder(), 3, 7)
    for value in model.state_dict().values():
        value.random_(1, 1000)  # no two tensors alike
    return model


def test_published_names_and_shapes():
    with torch.device("meta"):
        state = PointSegmenter(PointEncoder(WIDTH, DEPTH, 6, 128, 32), 16, 50).state_dict()
    published = to_published_segmenter(state)
    assert {key: tuple(value.shape) for key, value in published.items()} == published_shapes()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_survive_the_way_there_and_back(model, prefix):
    state = model.state_dict()
    published = {prefix + key: value for key, value in to_published_segmenter(state).items()}
    assert is_published_segmenter(published)
    back = from_published_segmenter(published)
    assert back.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(back[key], value), key


def test_norms_of_the_head_keep_their_places(model):
    state, published = model.state_dict(), to_published_segmenter(model.state_dict())
    assert torch.equal(state["head.norm1.bias"], published["bns1.bias"])
    assert torch.equal(state["head.local.norm2.bias"], published["propagation_0.mlp_bns.1.bias"])


def test_other_files_are_no_segmenters(model, make_recon, make_encoder):
    states = (make_recon().state_dict(), PointClassifier(make_encoder(), 3).state_dict())
    assert not any(is_published_segmenter(to_published(state)) for state in states)
    assert not is_published_segmenter(model.state_dict())
