"""One stream of queries and patches."""

import pytest
import torch

from pointrecon.models.blocks import BLOCKS
from pointrecon.models.blocks.layers import Block
from pointrecon.utils.errors import InputError


def test_it_is_a_plain_block_over_all_tokens():
    torch.manual_seed(0)
    block = BLOCKS.get("SharedBlock")(12, 3).eval()
    queries, tokens = torch.randn(2, 3, 12), torch.randn(2, 5, 12)
    plain = Block(12, 3).eval()
    plain.load_state_dict(block.state_dict())
    x = plain(torch.cat([queries, tokens], dim=1))
    new_queries, new_tokens = block(queries, tokens, False)
    torch.testing.assert_close(new_queries, x[:, :3])
    torch.testing.assert_close(new_tokens, x[:, 3:])
    # Unlike in two streams, queries see one another and patches see queries.
    moved = block(queries + torch.eye(3, 12), tokens, False)[1]
    assert not torch.allclose(moved, new_tokens)


def test_both_losses_move_all_weights(make_recon, points):
    model = make_recon(encoder={"block": "SharedBlock", "stop_grad": False})
    terms = model(points, {"image": torch.randn(4, 10), "text": torch.randn(4, 7)})
    blocks = [*model.encoder.blocks.parameters()]
    for term in ("chamfer", "image", "text"):
        # The last block's MLP is applied to each token alone; attention lets each loss into everything before it.
        found = torch.autograd.grad(terms[term], blocks, retain_graph=True)
        assert all(gradient.abs().max() > 0 for gradient in found)


def test_there_is_nothing_to_stop(make_encoder):
    with pytest.raises(InputError, match="model.stop_grad is true, but model.block=SharedBlock has one stream"):
        make_encoder(block="SharedBlock", stop_grad=True)
