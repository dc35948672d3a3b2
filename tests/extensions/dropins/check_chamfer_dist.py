"""The drop-ins for chamfer_dist and for the compiled module under it; test_wheel.py runs this."""

import chamfer
import pytest
import torch
from chamfer_dist import (
    ChamferDistance,
    ChamferDistanceL1,
    ChamferDistanceL1_PM,
    ChamferDistanceL2,
    ChamferDistanceL2_split,
    ChamferFunction,
)


def random_points(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def naive(a, b):
    """Squared distances to the nearest, both ways, by autograd through the minimum of all pairs."""
    squared = (a.unsqueeze(2) - b.unsqueeze(1)).square().sum(-1)
    return squared.min(dim=2).values, squared.min(dim=1).values


@pytest.fixture
def pair():
    return random_points(3, 10, 3).requires_grad_(), random_points(3, 14, 3, seed=1).requires_grad_()


LOSSES = {
    "l2": (ChamferDistanceL2(), lambda p, q: p.mean() + q.mean()),
    "l2, another name": (ChamferDistance(), lambda p, q: p.mean() + q.mean()),
    "l1, one way": (ChamferDistanceL1_PM(), lambda p, q: p.sqrt().mean() + 0 * q.mean()),
    "l1": (ChamferDistanceL1(), lambda p, q: (p.sqrt().mean() + q.sqrt().mean()) / 2),
    "split": (lambda a, b: ChamferDistanceL2_split()(a, b)[0] * 3 + ChamferDistanceL2_split()(a, b)[1], None),
    "function": (lambda a, b: ChamferFunction.apply(a, b)[0].mean() * 3 + ChamferFunction.apply(a, b)[1].mean(), None),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_values_and_gradients_are_the_published_ones(loss, pair):
    measure, combine = LOSSES[loss]
    combine = combine or (lambda p, q: 3 * p.mean() + q.mean())
    actual, wanted = measure(*pair), combine(*naive(*pair))
    torch.testing.assert_close(actual, wanted)
    for ours, theirs in zip(torch.autograd.grad(actual, pair), torch.autograd.grad(wanted, pair), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_function_gives_a_distance_a_point(pair):
    for actual, wanted in zip(ChamferFunction.apply(*pair), naive(*pair), strict=True):
        torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize("loss", [ChamferDistanceL1, ChamferDistanceL2, ChamferDistanceL2_split])
def test_padding_is_left_out_of_a_single_cloud_only(loss):
    a, b = random_points(1, 6, 3), random_points(1, 5, 3, seed=1)
    a[0, 0] = torch.tensor([1.0, -1, 0])  # adds up to zero, but is no padding
    padded = torch.cat([torch.zeros(1, 2, 3), a], dim=1)
    plain, ignoring = loss(), loss(ignore_zeros=True)
    assert ignoring(padded, b) == plain(a, b) != plain(padded, b)
    twice = padded.repeat(2, 1, 1), b.repeat(2, 1, 1)
    assert ignoring(*twice) == plain(*twice)


def test_the_compiled_module_gives_distances_indices_and_their_gradient(pair):
    dist1, dist2, idx1, idx2 = chamfer.forward(*pair)
    wanted = naive(*pair)
    torch.testing.assert_close((dist1, dist2), wanted)
    assert idx1.dtype == idx2.dtype == torch.int32 and idx1.shape == (3, 10) and idx2.shape == (3, 14)
    upstream = random_points(3, 10, seed=2), random_points(3, 14, seed=3)
    actual = chamfer.backward(*pair, idx1, idx2, *upstream)
    torch.testing.assert_close(actual, torch.autograd.grad(wanted, pair, upstream))


class TheirFunction(torch.autograd.Function):
    """How other projects wrap the compiled module."""

    @staticmethod
    def forward(ctx, a, b):
        *distances, idx1, idx2 = chamfer.forward(a.float(), b.float())
        ctx.save_for_backward(a, b, idx1, idx2)
        return tuple(distance.to(a.dtype) for distance in distances)

    @staticmethod
    def backward(ctx, grad1, grad2):
        return chamfer.backward(*ctx.saved_tensors, grad1, grad2)


def test_an_autograd_function_around_the_compiled_module(pair):
    actual = sum(distance.mean() for distance in TheirFunction.apply(*pair))
    torch.testing.assert_close(torch.autograd.grad(actual, pair), torch.autograd.grad(ChamferDistanceL2()(*pair), pair))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda a: ChamferDistanceL2()(a, a[:1]), r"xyz2 must have shape \(B, M, 3\) with B = 2, got \(1, 5, 3\)"),
        (lambda a: ChamferDistanceL1()(a, a[0]), r"xyz2 must .*got \(5, 3\)"),
        (lambda a: ChamferDistanceL2(ignore_zeros=True)(a[:1], a[:1]), r"xyz1 is empty, its shape is \(1, 0, 3\)"),
        (lambda a: ChamferFunction.apply(a, a[:, :0]), "xyz2 is empty"),
        (lambda a: chamfer.forward(a, a[..., :2]), r"xyz2 must .*got \(2, 5, 2\)"),
        (lambda a: chamfer.backward(a, a, *[a[..., 0].int()] * 2, a[..., 0], a[:, :4, 0]), r"grad_dist2 must .*M = 5"),
    ],
)
def test_mistakes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(2, 5, 3))
