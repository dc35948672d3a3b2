"""Batch-norm in the weights of the layer before it, against torch's batch-norm of that layer's output."""

import pytest
import torch
from torch.nn import functional as F

from pointrecon.models.blocks.batch_norm import BatchNorm1d
from pointrecon.models.patches.norm_fold import fold_norm, linear_moments, patch_moments


def random_tensor(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_norms(channels):
    """Two norms that are equal and not the identity."""
    norms = [BatchNorm1d(channels, momentum=0.3).double() for _ in range(2)]
    for norm in norms:
        norm.weight.data = random_tensor(channels, seed=7)
        norm.bias.data = random_tensor(channels, seed=8)
    return norms


def check_against_torch(output, moments, parameters):
    """Values, gradients and running statistics of the folded norm are those of the plain one."""
    plain, folded = make_norms(output.shape[-1])
    wanted = plain(output)
    scale, shift = fold_norm(folded, moments)
    actual = output * scale + shift
    torch.testing.assert_close(actual, wanted)
    factor = random_tensor(*output.shape, seed=9)
    gradients = [
        torch.autograd.grad((normed * factor).sum(), [*parameters, norm.weight, norm.bias], retain_graph=True)
        for normed, norm in ((actual, folded), (wanted, plain))
    ]
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(folded.state_dict()[name], value)


def test_linear_moments():
    shapes = [(50, 3), (8, 3), (8,)]
    rows, weight, bias = (random_tensor(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes))
    check_against_torch(F.linear(rows + 5, weight, bias), linear_moments(rows + 5, weight, bias), [rows, weight, bias])


def test_patch_moments():
    shapes = [(9, 5, 6), (11, 6), (9, 11)]
    hidden, weight, offset = (random_tensor(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes))
    output = (hidden @ weight.T + offset.unsqueeze(1)).flatten(0, 1)
    check_against_torch(output, patch_moments(hidden, weight, offset), [hidden, weight, offset])


def test_nothing_cancels_far_from_zero():
    # In float32, with a mean a thousand times the deviation: squares minus squared mean would keep no digit.
    hidden = (random_tensor(30, 16, 4) / 1000 + 1).float()
    weight, offset = random_tensor(6, 4, seed=1).float(), torch.full((30, 6), 3.0)
    _, variance, _ = patch_moments(hidden, weight, offset)
    exact = (hidden.double() @ weight.double().T + 3).flatten(0, 1).var(dim=0, unbiased=False)
    torch.testing.assert_close(variance.double(), exact, rtol=1e-3, atol=0)


def test_evaluation_reads_the_running_statistics_and_leaves_them():
    norm = make_norms(4)[0]
    norm(random_tensor(20, 4))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    scale, shift = fold_norm(norm.eval(), None)
    rows = random_tensor(7, 4, seed=3)
    torch.testing.assert_close(rows * scale + shift, norm(rows))
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("count", [2, 50])
def test_the_running_variance_is_the_unbiased_one(count):
    norm = BatchNorm1d(1, momentum=1.0)
    rows = random_tensor(count, 1).float()
    fold_norm(norm, linear_moments(rows, torch.ones(1, 1), torch.zeros(1)))
    torch.testing.assert_close(norm.running_var, rows.var(dim=0))
