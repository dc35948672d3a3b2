"""Every block in every network: the encoder takes them by name, one from outside too."""

import sys
import types

import pytest
import torch
from torch import nn

from pointrecon.models.blocks import BLOCKS
from pointrecon.models.classifier import PointClassifier
from pointrecon.models.patches.masking import split_of_mask
from pointrecon.models.segmenter import PointSegmenter
from pointrecon.utils.errors import InputError

NAMES = ("MixerBlock", "PreNormBlock", "ReConBlock")
ONE_STREAM = ("SharedBlock",)  # test_shared.py


def train(model, forward, num_steps=30):
    """The losses of a few steps on one batch."""
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    for _ in range(num_steps):
        loss = forward()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_these_are_all():
    assert BLOCKS.names() == sorted(NAMES + ONE_STREAM)


@pytest.mark.parametrize("block", NAMES)
class TestEachBlock:
    def test_pretrains(self, make_recon, points, block):
        model = make_recon(encoder={"block": block})
        targets = {"image": torch.randn(4, 10), "text": torch.randn(4, 7)}
        split = split_of_mask(torch.arange(8).expand(4, -1) >= 4)
        losses = train(model, lambda: sum(model(points, targets, split=split).values()))
        assert losses[-1] < 0.7 * losses[0]

    def test_classifies(self, make_encoder, points, block):
        model, labels = PointClassifier(make_encoder(block=block), 4, dropout=0.0), torch.arange(4)
        losses = train(model, lambda: nn.functional.cross_entropy(model(points), labels))
        assert losses[-1] < 0.3 * losses[0]

    def test_segments(self, make_encoder, points, block):
        model, parts = PointSegmenter(make_encoder(block=block), 2, 3, dropout=0.0), points.argmax(dim=-1)
        labels = torch.tensor([0, 1, 0, 1])
        losses = train(model, lambda: nn.functional.cross_entropy(model(points, labels).transpose(1, 2), parts))
        assert losses[-1] < 0.7 * losses[0]

    def test_the_stop_gradient_holds(self, make_encoder, points, block):
        encoder = make_encoder(block=block, stop_grad=True)
        encoder.embed(points)[0].square().sum().backward()
        touched = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
        assert touched and not {name for name in touched if name.startswith(("patch_embed", "pos_embed"))}

    def test_the_order_of_the_patches_does_not_matter(self, make_encoder, points, block):
        encoder, order = make_encoder(block=block).eval(), torch.randperm(8)
        patches, centers = encoder.group(points)
        queries, tokens = encoder(patches, centers)
        shuffled = encoder(patches[:, order], centers[:, order])
        torch.testing.assert_close(shuffled[0], queries)
        torch.testing.assert_close(shuffled[1], tokens[:, order])

    def test_kept_tokens_are_those_of_the_blocks(self, make_encoder, points, block):
        encoder = make_encoder(block=block).eval()
        _, tokens, kept = encoder.forward_blocks(*encoder.group(points), keep=[1, 2])
        assert torch.equal(kept[1], tokens) and kept[0].shape == tokens.shape


def test_the_pre_norm_block_has_the_true_residual_stream():
    block = BLOCKS.get("PreNormBlock")(12, 3).eval()
    queries, tokens = torch.randn(2, 3, 12), torch.randn(2, 5, 12)
    x = tokens + block.attn(block.norm1(tokens))
    x = x + block.mlp(block.norm2(x))
    q = queries + block.attn_contrast(block.norm1_contrast(queries), block.norm1_contrast(x))
    q = q + block.mlp_contrast(block.norm2_contrast(q))
    for actual, wanted in zip(block(queries, tokens, False), (q, x), strict=True):
        torch.testing.assert_close(actual, wanted)


def test_the_mixer_has_no_attention_and_reaches_its_neighbours_on_the_curve_alone():
    block = BLOCKS.get("MixerBlock")(12, 3).eval()
    assert not [name for name, _ in block.named_modules() if "attn" in name]
    tokens = torch.randn(1, 20, 12, requires_grad=True)
    (gradient,) = torch.autograd.grad(block(torch.randn(1, 2, 12), tokens, False)[1][0, 10].sum(), tokens)
    assert gradient[0].abs().sum(dim=-1).nonzero().flatten().tolist() == list(range(6, 15))


def test_a_block_from_outside(make_encoder, points, monkeypatch):
    class MeanBlock(nn.Module):
        def __init__(self, dim, num_heads, mlp_ratio=4.0, drop_path=0.0):
            super().__init__()
            self.fc = nn.Linear(dim, dim)

        def forward(self, queries, tokens, stop_grad):
            return queries + self.fc(tokens).mean(dim=1, keepdim=True), tokens

    module = types.ModuleType("blocks_of_mine")
    module.MeanBlock = MeanBlock
    monkeypatch.setitem(sys.modules, "blocks_of_mine", module)
    encoder = make_encoder(block="blocks_of_mine:MeanBlock")
    assert encoder.embed(points)[0].shape == (4, 3, 24)
    with pytest.raises(InputError, match="did you mean 'MixerBlock'"):
        make_encoder(block="MixerBlok")
