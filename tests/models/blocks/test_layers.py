"""Transformer layers against their definitions."""

import math

import pytest
import torch
from torch import nn

from pointrecon.models.blocks.layers import (
    Attention,
    Block,
    CrossAttention,
    Dropout,
    DropPath,
    Mlp,
    PositionEmbedding,
    check_heads,
    drop_path_rates,
    init_truncated_normal,
    init_xavier,
)
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import shared_batch


def naive_attention(q, k, v, num_heads):
    """(T, C), (S, C), (S, C) -> (T, C), head by head."""
    parts = []
    for qh, kh, vh in zip(q.chunk(num_heads, -1), k.chunk(num_heads, -1), v.chunk(num_heads, -1), strict=True):
        parts.append(torch.softmax(qh @ kh.T / math.sqrt(qh.shape[-1]), dim=-1) @ vh)
    return torch.cat(parts, dim=-1)


def test_self_attention_is_the_naive_one():
    layer, x = Attention(12, 3), torch.randn(2, 5, 12)
    assert layer.qkv.bias is None and layer.proj.bias is not None
    for sample, out in zip(x, layer(x), strict=True):
        q, k, v = (sample @ weight.T for weight in layer.qkv.weight.split(12))
        torch.testing.assert_close(out, layer.proj(naive_attention(q, k, v, 3)))


def test_cross_attention_is_the_naive_one():
    layer, queries, source = CrossAttention(12, 3), torch.randn(2, 3, 12), torch.randn(2, 7, 12)
    assert layer.q.bias is None and layer.kv.bias is None and layer.proj.bias is not None
    for q, s, out in zip(queries, source, layer(queries, source), strict=True):
        k, v = (s @ weight.T for weight in layer.kv.weight.split(12))
        torch.testing.assert_close(out, layer.proj(naive_attention(q @ layer.q.weight.T, k, v, 3)))


def test_mlp_widens_by_its_ratio():
    layer, x = Mlp(6, ratio=2.5), torch.randn(2, 3, 6)
    assert layer.fc1.out_features == 15
    hidden = layer.fc1(x)
    gelu = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))  # the exact one, not the tanh form
    torch.testing.assert_close(layer(x), layer.fc2(gelu))


def test_block_is_pre_norm():
    block, x = Block(12, 3), torch.randn(2, 5, 12)
    middle = x + block.attn(block.norm1(x))
    torch.testing.assert_close(block(x), middle + block.mlp(block.norm2(middle)))


@pytest.mark.parametrize("first", [1, 3, 4])
def test_tokens_that_are_not_wanted_are_still_attended_to(first):
    block, x = Block(12, 3), torch.randn(2, 5, 12)
    factor = torch.randn(2, 5 - first, 12)
    results = []
    for out in (block(x, first=first), block(x)[:, first:]):
        results.append([out, *torch.autograd.grad((out * factor).sum(), list(block.parameters()))])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)


def test_position_embedding_has_the_published_widths():
    shapes = [tuple(layer.weight.shape) for layer in PositionEmbedding(20) if isinstance(layer, nn.Linear)]
    assert shapes == [(128, 3), (20, 128)]


class TestDropPath:
    def test_does_nothing_in_evaluation_or_at_rate_0(self):
        x = torch.randn(4, 3, 2)
        assert DropPath(0.5).eval()(x) is x
        assert DropPath(0.0).train()(x) is x

    def test_drops_whole_samples_and_scales_the_rest(self):
        x = torch.rand(200, 3, 2) + 1
        out = DropPath(0.3).train()(x)
        is_kept = out[:, 0, 0] > 0
        assert 0 < is_kept.sum() < 200
        assert not out[~is_kept].any()
        torch.testing.assert_close(out[is_kept], x[is_kept] / 0.7)

    @pytest.mark.parametrize("rate", [0.1, 0.001])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_expectation_is_the_input_in_half_precision_too(self, dtype, rate):
        size = 400_000
        out = DropPath(rate).train()(torch.ones(size, 1, dtype=dtype))
        assert out.dtype == dtype
        share = (out == 0).double().mean().item()
        assert share == pytest.approx(rate, abs=4 * math.sqrt(rate / size))  # four standard deviations
        assert out.max().item() == pytest.approx(1 / (1 - rate), rel=4e-3)

    def test_rates_rise_linearly(self):
        assert drop_path_rates(0.2, 5) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
        assert drop_path_rates(0.2, 1) == [0]

    @pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
    def test_rates_that_are_no_probability_below_1_are_refused(self, rate):
        with pytest.raises(InputError, match="model.drop_path is .* below 1"):
            drop_path_rates(rate, 3)


@pytest.mark.parametrize("num_heads", [0, -2, 5])
@pytest.mark.parametrize("layer", [Attention, CrossAttention, check_heads, Block])
def test_heads_that_do_not_divide_the_width_are_refused(layer, num_heads):
    with pytest.raises(InputError, match=f"width 12 cannot be split into {num_heads} heads"):
        layer(12, num_heads)


def test_truncated_normal_initialisation():
    module = nn.Sequential(nn.Linear(300, 300), nn.LayerNorm(300))
    for parameter in module.parameters():
        nn.init.constant_(parameter, 7)
    module.apply(init_truncated_normal)
    linear, norm = module
    assert linear.weight.mean().item() == pytest.approx(0, abs=5e-4)
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert not linear.bias.any() and not norm.bias.any() and torch.all(norm.weight == 1)


def test_xavier_initialisation():
    linear = nn.Linear(200, 100).apply(init_xavier)
    bound = math.sqrt(6 / 300)
    assert linear.weight.abs().max() <= bound
    assert linear.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert not linear.bias.any()
    nn.Linear(4, 4, bias=False).apply(init_xavier)


@pytest.mark.parametrize("make", [lambda: Dropout(0.3), lambda: DropPath(0.3)], ids=["dropout", "drop-path"])
def test_processes_drop_what_one_would(make, monkeypatch):
    layer, x = make(), torch.randn(12, 5, 7)
    torch.manual_seed(3)
    whole = layer(x)
    assert (whole == 0).any() and not (whole == 0).all()
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        torch.manual_seed(3)
        with shared_batch():
            assert torch.equal(layer(x[rank::3]), whole[rank::3])


def test_dropout_of_one_process_is_torchs():
    x = torch.randn(12, 7)
    torch.manual_seed(3)
    expected = nn.Dropout(0.4)(x)
    torch.manual_seed(3)
    assert torch.equal(Dropout(0.4)(x), expected)
    assert torch.equal(Dropout(0.4).eval()(x), x)


def test_places_keep_their_digits_under_autocast():
    embedding, centers = PositionEmbedding(16), torch.rand(2, 5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = embedding(centers)
    assert torch.equal(found, embedding(centers))
