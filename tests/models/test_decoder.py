"""The reconstruction decoder."""

import math

import pytest
import torch

from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.patches.masking import split_of_mask
from pointrecon.utils.errors import InputError

MASK = torch.tensor([[0, 1, 1, 0, 1, 1], [1, 0, 1, 1, 0, 1]], dtype=torch.bool)


@pytest.fixture
def decoder():
    return MaskedDecoder(embed_dim=12, depth=2, num_heads=3, group_size=4).eval()


@pytest.fixture
def inputs():
    """Tokens of the two visible patches, all six centres and the split."""
    return torch.randn(2, 2, 12), torch.randn(2, 6, 3), split_of_mask(MASK)


def test_forward_is_the_published_sequence(decoder, inputs):
    tokens, centers, _ = inputs
    for sample, middle, flags, rebuilt in zip(tokens, centers, MASK, decoder(*inputs), strict=True):
        x = torch.cat([sample, decoder.mask_token[0].expand(4, -1)]).unsqueeze(0)
        positions = torch.cat([decoder.pos_embed(middle[~flags]), decoder.pos_embed(middle[flags])])
        for block in decoder.blocks:  # positions before each block
            x = block(x + positions)
        torch.testing.assert_close(rebuilt, decoder.coords(decoder.norm(x))[0, 2:].view(4, 4, 3))


def test_masked_patches_come_in_the_order_of_the_groups(decoder, inputs):
    tokens, centers, split = inputs
    swapped = centers.clone()
    swapped[0, [1, 2]] = centers[0, [2, 1]]  # both masked: their reconstructions change places
    before, after = decoder(*inputs), decoder(tokens, swapped, split)
    torch.testing.assert_close(after[0], before[0, [1, 0, 2, 3]])
    torch.testing.assert_close(after[1], before[1])
    assert not torch.allclose(before[0, 0], before[0, 1], atol=1e-4)


def test_every_visible_token_is_read(decoder, inputs):
    tokens = inputs[0].requires_grad_()
    decoder(tokens, *inputs[1:]).square().sum().backward()
    assert (tokens.grad.abs().sum(dim=-1) > 0).all()


def test_initialisation():
    decoder = MaskedDecoder(embed_dim=192, depth=1, num_heads=6)
    bound = math.sqrt(6 / (192 + 4 * 192))
    assert decoder.blocks[0].mlp.fc1.weight.abs().max() <= bound
    assert decoder.blocks[0].mlp.fc1.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert decoder.mask_token.std().item() == pytest.approx(0.02, rel=0.25)


def test_drop_path_rises_to_its_rate():
    blocks = MaskedDecoder(embed_dim=12, depth=3, num_heads=3, drop_path=0.2).blocks
    assert [(block.drop_path1.rate, block.drop_path2.rate) for block in blocks] == [(0, 0), (0.1, 0.1), (0.2, 0.2)]


def test_impossible_heads_are_refused():
    with pytest.raises(InputError, match="width 12 cannot be split into 5 heads"):
        MaskedDecoder(embed_dim=12, num_heads=5)
