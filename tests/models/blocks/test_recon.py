"""The ReCon block: what reads what, and where the gradient goes."""

import pytest
import torch

from pointrecon.models.blocks.recon import ReConBlock


@pytest.fixture
def streams():
    queries, tokens = torch.randn(3, 3, 12), torch.randn(3, 6, 12)
    return queries.requires_grad_(), tokens.requires_grad_()


def make_block(**options):
    return ReConBlock(12, 3, **options)


@pytest.mark.parametrize("stop_grad", [True, False])
def test_stop_gradient_cuts_the_way_from_the_queries_into_the_tokens(streams, stop_grad):
    block, (queries, tokens) = make_block(), streams
    out, _ = block(queries, tokens, stop_grad)
    out.square().sum().backward()
    assert queries.grad.abs().sum() > 0
    if stop_grad:
        assert tokens.grad is None and block.norm1.weight.grad is None
    else:
        assert tokens.grad.abs().sum() > 0 and block.norm1.weight.grad.abs().sum() > 0
    assert block.attn_contrast.kv.weight.grad.abs().sum() > 0
    assert block.attn.qkv.weight.grad is None and block.mlp.fc1.weight.grad is None


def test_stop_gradient_changes_no_value(streams):
    block = make_block()
    for cut, whole in zip(block(*streams, True), block(*streams, False), strict=True):
        assert torch.equal(cut, whole)


def test_tokens_never_see_the_queries(streams):
    block, (queries, tokens) = make_block(), streams
    _, out = block(queries, tokens, False)
    assert torch.equal(block(queries + 1, tokens, False)[1], out)
    out.sum().backward()
    assert queries.grad is None


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_queries_never_attend_to_each_other(streams, changed):
    block, (queries, tokens) = make_block(), streams
    moved = queries.detach().clone()
    moved[:, changed] += torch.randn(12)
    before, after = block(queries, tokens, True)[0], block(moved, tokens, True)[0]
    assert not torch.allclose(before[:, changed], after[:, changed], atol=1e-3)
    others = [i for i in range(3) if i != changed]
    torch.testing.assert_close(before[:, others], after[:, others])


def test_queries_read_the_tokens_and_their_order_does_not_matter(streams):
    block, (queries, tokens) = make_block(), streams
    order = torch.randperm(6)
    plain, shuffled = block(queries, tokens, False), block(queries, tokens[:, order], False)
    torch.testing.assert_close(plain[0], shuffled[0])
    torch.testing.assert_close(plain[1][:, order], shuffled[1])
    assert not torch.allclose(block(queries, tokens + torch.randn(12), False)[0], plain[0], atol=1e-3)


def test_the_normalised_value_is_the_residual_stream(streams):
    block, (queries, tokens) = make_block(), streams
    for name, parameter in block.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(parameter)
        elif "proj" in name or "fc2" in name:
            torch.nn.init.zeros_(parameter)  # every branch gives 0: what is left is the residual stream
    out_queries, out_tokens = block(queries, tokens, True)
    torch.testing.assert_close(out_queries, block.norm2_contrast(block.norm1_contrast(queries)))
    torch.testing.assert_close(out_tokens, block.norm2(block.norm1(tokens)))


def test_the_four_drop_paths_draw_separately(streams):
    block, kept = make_block(drop_path=0.5).train(), []
    queries, tokens = (x.detach()[:1].expand(64, -1, -1) for x in streams)
    block.drop_path.register_forward_hook(lambda module, inputs, out: kept.append(out.flatten(1).any(dim=1)))
    block(queries, tokens, True)
    assert len(kept) == 4
    assert len({tuple(mask.tolist()) for mask in kept}) == 4
