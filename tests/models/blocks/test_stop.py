"""How much gradient passes from the queries to the patch tokens, in each kind of block."""

import pytest
import torch

from pointrecon.models.blocks import BLOCKS
from pointrecon.models.blocks.stop import held_back


@pytest.mark.parametrize(("stop", "passes"), [(True, 0.0), (False, 1.0), (1.0, 0.0), (0.0, 1.0), (0.25, 0.75)])
def test_the_share_passes_and_the_values_keep_their_bits(stop, passes):
    tokens = torch.randn(2, 3, 4, requires_grad=True)
    held = held_back(tokens, stop)
    assert torch.equal(held, tokens)
    if passes:
        held.sum().backward()
        assert torch.equal(tokens.grad, torch.full_like(tokens, passes))
    else:
        assert not held.requires_grad


@pytest.mark.parametrize("name", ["ReConBlock", "PreNormBlock", "MixerBlock"])
def test_of_what_queries_say_to_tokens_a_part_passes(name):
    torch.manual_seed(0)
    block = BLOCKS.get(name)(8, 2).eval()
    queries, tokens = torch.randn(2, 3, 8), torch.randn(2, 8, 8)

    def gradient(stop):
        source = tokens.clone().requires_grad_()
        block(queries, source, stop)[0].square().sum().backward()
        return source.grad if source.grad is not None else torch.zeros_like(source)

    whole = gradient(False)
    assert whole.abs().max() > 0 and not gradient(True).any()
    torch.testing.assert_close(gradient(0.75), 0.25 * whole)
