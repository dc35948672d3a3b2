"""Running statistics that do not depend on where they start."""

import pytest
import torch
from torch import nn

from pointrecon.models.blocks.batch_norm import BatchNorm1d, norm_relu, use_plain_statistics


def make_batches(count, channels=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(20, channels, generator=generator) * 0.01 + 2 for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 10, 56])
def test_they_are_a_weighted_mean_of_the_batches_and_of_nothing_else(count):
    norm, batches, shares = BatchNorm1d(3), make_batches(count), torch.zeros(count)
    norm.running_mean.fill_(1e4)
    for number, batch in enumerate(batches, start=1):
        norm(batch)
        share = max(0.1, 4 / (number + 3))
        shares *= 1 - share
        shares[number - 1] = share
    assert shares.sum().item() == pytest.approx(1) and (shares.diff() >= -1e-6).all()  # later ones count more
    for name, values in (
        ("running_mean", [batch.mean(dim=0) for batch in batches]),
        ("running_var", [batch.var(dim=0) for batch in batches]),
    ):
        wanted = (torch.stack(values) * shares.unsqueeze(1)).sum(dim=0) / shares.sum()
        torch.testing.assert_close(getattr(norm, name), wanted, rtol=1e-4, atol=1e-6)
    assert norm.num_batches_tracked == count


def test_outputs_and_gradients_in_training_are_torchs_own():
    ours, theirs = BatchNorm1d(3), nn.BatchNorm1d(3)
    for batch in make_batches(3):
        x, y = batch.clone().requires_grad_(), batch.clone().requires_grad_()
        one, other = ours(x), theirs(y)
        assert torch.equal(one, other)
        weight = torch.randn_like(one)
        (one * weight).sum().backward()
        (other * weight).sum().backward()
        assert torch.equal(x.grad, y.grad)


def test_after_many_batches_they_move_as_torchs_own_do():
    ours, theirs = BatchNorm1d(3), nn.BatchNorm1d(3)
    for norm in (ours, theirs):
        norm.num_batches_tracked += 500
    for batch in make_batches(5):
        ours(batch), theirs(batch)
        torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-6, atol=0)
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_plain_statistics_are_torchs_own_to_the_last_bit():
    ours, theirs = use_plain_statistics(nn.Sequential(BatchNorm1d(3)))[0], nn.BatchNorm1d(3)
    for batch in make_batches(4):
        ours(batch), theirs(batch)
        torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-6, atol=0)
        torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-6, atol=0)


def test_evaluation_moves_nothing():
    norm = BatchNorm1d(3)
    norm(make_batches(1)[0])
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm.eval()(make_batches(2)[1])
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_norm_relu_is_over_all_rows():
    norm, x = BatchNorm1d(3), torch.randn(2, 4, 5, 3)
    torch.testing.assert_close(norm_relu(norm, x), norm(x.reshape(-1, 3)).relu().view(x.shape))
