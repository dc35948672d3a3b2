"""The encoder: what it shows to whom, and how it starts."""

import pytest
import torch
from torch import nn

from pointrecon.models.encoder import QUERIES, PointEncoder
from pointrecon.models.patches.masking import split_of_mask, take_groups
from pointrecon.utils.errors import InputError


@pytest.fixture
def grouped(make_encoder, points):
    """Patches (4, 8, 5, 3), centers (4, 8, 3) and a split that hides 3 groups of each cloud."""
    mask = torch.stack([torch.randperm(8) < 3 for _ in range(4)])
    return *make_encoder().group(points), split_of_mask(mask)


def test_forward_is_the_published_sequence(make_encoder, grouped):
    encoder, (patches, centers, split) = make_encoder(depth=3).eval(), grouped
    tokens = take_groups(encoder.patch_embed(patches), split.visible)
    positions = encoder.pos_embed(take_groups(centers, split.visible))
    queries = encoder.query_tokens.expand(4, -1, -1)
    for block in encoder.blocks:  # positions before each block, not before the first alone
        queries, tokens = block(queries + encoder.query_positions, tokens + positions, False)
    actual = encoder(patches, centers, split)
    torch.testing.assert_close(actual[0], encoder.norm(queries))
    torch.testing.assert_close(actual[1], encoder.norm(tokens))
    assert actual[0].shape == (4, len(QUERIES), 24) and actual[1].shape == (4, 5, 24)


def test_no_mask_shows_every_patch(make_encoder, grouped):
    encoder, (patches, centers, _) = make_encoder().eval(), grouped
    queries, tokens = encoder(patches, centers)
    assert tokens.shape == (4, 8, 24)
    nothing = split_of_mask(torch.zeros(4, 8, dtype=torch.bool))
    for shown, masked in zip((queries, tokens), encoder(patches, centers, nothing), strict=True):
        torch.testing.assert_close(shown, masked)


def test_tokens_come_in_the_order_of_the_groups(make_encoder, grouped):
    encoder, (patches, centers, _) = make_encoder().eval(), grouped
    order = torch.randperm(8)
    queries, tokens = encoder(patches, centers)
    shuffled = encoder(patches[:, order], centers[:, order])
    torch.testing.assert_close(shuffled[0], queries)
    torch.testing.assert_close(shuffled[1], tokens[:, order])


@pytest.mark.parametrize("embed_masked", [True, False])
def test_masked_patches_are_not_seen(make_encoder, grouped, embed_masked):
    encoder, (patches, centers, split) = make_encoder(embed_masked=embed_masked).eval(), grouped
    other_patches, other_centers = patches.clone(), centers.clone()
    other_patches[split.to_mask()] += 5
    other_centers[split.to_mask()] -= 5
    seen = (encoder(patches, centers, split), encoder(other_patches, other_centers, split))
    for before, after in zip(*seen, strict=True):
        assert torch.equal(before, after)


def test_embedding_the_masked_ones_matters_for_batch_norm_alone(make_encoder, grouped):
    all_of_them, visible_only = make_encoder(embed_masked=True), make_encoder(embed_masked=False)
    visible_only.load_state_dict(all_of_them.state_dict())
    for a, b in zip(all_of_them.eval()(*grouped), visible_only.eval()(*grouped), strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(all_of_them.train()(*grouped), visible_only.train()(*grouped), strict=True):
        assert not torch.allclose(a, b, atol=1e-4)
    patches, _, split = grouped
    seen = visible_only.patch_embed.fc1(patches[~split.to_mask()].flatten(0, 1)).mean(dim=0)
    torch.testing.assert_close(visible_only.patch_embed.norm1.running_mean, seen)


@pytest.mark.parametrize("stop_grad", [True, False])
def test_stop_gradient_keeps_the_teachers_out_of_the_local_branch(make_encoder, points, stop_grad):
    encoder = make_encoder(stop_grad=stop_grad)
    queries, _ = encoder.embed(points)
    queries.square().mean().backward()
    local = ("patch_embed", "pos_embed", "attn.", "mlp.", "norm1.", "norm2.")
    touched = {
        name
        for name, parameter in encoder.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    reached = {name for name in touched if name.startswith(local) or any(f".{part}" in name for part in local)}
    assert bool(reached) is not stop_grad
    assert {"query_tokens", "query_positions", "blocks.0.attn_contrast.kv.weight"} <= touched


def test_drop_path_rises_to_its_rate(make_encoder):
    encoder = make_encoder(depth=4, drop_path=0.3)
    assert [block.drop_path.rate for block in encoder.blocks] == pytest.approx([0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("options", [{"num_heads": 5}, {"num_heads": 0}, {"drop_path": 1.0}])
def test_impossible_sizes_are_refused(make_encoder, options):
    with pytest.raises(InputError):
        make_encoder(**options)


def test_initialisation(make_encoder):
    encoder = make_encoder(embed_dim=192)
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.15), name
            assert abs(module.weight.mean().item()) < 4e-3, name
            assert module.bias is None or not module.bias.any(), name
        elif isinstance(module, nn.LayerNorm):
            assert torch.all(module.weight == 1) and not module.bias.any(), name
    for token in (encoder.query_tokens, encoder.query_positions):
        assert token.std().item() == pytest.approx(0.02, rel=0.15)


def count_encoder_parameters(dim, depth):
    """Counted from the published layers by hand."""
    patch = (3 * 128 + 128) + 2 * 128 + (128 * 256 + 256) + (512 * 512 + 512) + 2 * 512 + (512 * dim + dim)
    position = (3 * 128 + 128) + (128 * dim + dim)
    attention = 3 * dim * dim + dim * dim + dim  # the projections to q, k and v have no bias
    mlp = (4 * dim * dim + 4 * dim) + (4 * dim * dim + dim)
    stream = attention + mlp + 2 * 2 * dim
    return patch + position + depth * 2 * stream + 2 * dim + 6 * dim


@pytest.mark.parametrize(
    ("embed_dim", "num_heads", "millions"), [(384, 6, 43.11), (256, 4, 19.40), (192, 3, 11.09)], ids=["b", "s", "t"]
)
def test_published_sizes(embed_dim, num_heads, millions):
    with torch.device("meta"):
        encoder = PointEncoder(embed_dim, 12, num_heads)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert count == count_encoder_parameters(embed_dim, 12)
    assert count / 1e6 == pytest.approx(millions, abs=0.005)
