"""Clouds whose squared distances are no float32: the indices are those of the same cloud at a size that has squares."""

import math

import pytest
import torch

from pointrecon.extensions import dispatch, ops, use_backend


def power(scale):
    """The power of two next to a number: a multiplication by it is exact."""
    return 2.0 ** round(math.log2(scale))


HUGE, TINY = power(1e20), power(1e-23)


@pytest.fixture(params=["compiled", "reference"], autouse=True)
def backend(request):
    if reason := dispatch.why_unavailable(request.param, "cpu"):
        pytest.skip(reason)
    use_backend(request.param)
    yield
    use_backend(None)


def cloud(*shape, seed=0):
    """Multiples of 1/64 in -1..1, of which few bits are used: ties, and exact at any size."""
    return torch.randint(-64, 64, (*shape, 3), generator=torch.Generator().manual_seed(seed)) / 64


@pytest.mark.parametrize("scale", [1e20, 1e37, 1e-10, 1e-23, 1e-35])
@pytest.mark.parametrize("num_points", [64, 4000])
def test_indices_do_not_depend_on_the_size(scale, num_points):
    points, queries = cloud(2, num_points), cloud(2, 7, seed=1)
    large, asked = points * power(scale), queries * power(scale)
    assert torch.equal(ops.fps(large, 20), ops.fps(points, 20))
    assert torch.equal(ops.knn(large, asked, 9), ops.knn(points, queries, 9))
    assert torch.equal(ops.three_nn(asked, large)[1], ops.three_nn(queries, points)[1])
    *places, index = ops.patchify(large, 8, 5)
    *wanted, wanted_index = ops.patchify(points, 8, 5)
    assert torch.equal(index, wanted_index)
    assert all(torch.equal(one, two * power(scale)) for one, two in zip(places, wanted, strict=True))


@pytest.mark.parametrize("exponent", [-1000, -660, 500, 660, 1020])
def test_double_precision_of_any_size(exponent):
    scale = 2.0**exponent
    points, queries = cloud(2, 64).double(), cloud(2, 7, seed=1).double()
    large, asked = points * scale, queries * scale
    assert torch.equal(ops.fps(large, 20), ops.fps(points, 20))
    assert torch.equal(ops.knn(large, asked, 9), ops.knn(points, queries, 9))
    assert torch.equal(ops.three_nn(asked, large)[1], ops.three_nn(queries, points)[1])
    *places, index = ops.patchify(large, 8, 5)
    *wanted, wanted_index = ops.patchify(points, 8, 5)
    assert torch.equal(index, wanted_index)
    assert all(torch.equal(one, two * scale) for one, two in zip(places, wanted, strict=True))


def test_random_clouds_of_1e20():
    points = torch.randn(1, 64, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ops.fps(points * 1e20, 8), ops.fps(points, 8))


def test_each_cloud_of_a_batch_has_its_own_size():
    points = cloud(4, 300)
    scaled = points * torch.tensor([HUGE, 1.0, TINY, 0.0]).view(4, 1, 1)
    assert torch.equal(ops.fps(scaled, 20)[:3], ops.fps(points, 20)[:3])
    assert not ops.fps(scaled, 20)[3].any()


def test_distances_are_those_of_the_cloud_as_it_is():
    points, queries = cloud(2, 64), cloud(2, 7, seed=1)
    factor = power(1e-15)
    squared, _ = ops.three_nn(queries * factor, points * factor)
    torch.testing.assert_close(squared, ops.three_nn(queries, points)[0] * factor**2, rtol=1e-6, atol=0)
    assert ops.three_nn(queries * HUGE, points * HUGE)[0].isinf().any()


@pytest.mark.parametrize("factor", [HUGE, TINY])
def test_the_gradient_goes_to_the_same_points(factor):
    grads = []
    for scale in (1.0, factor):
        points = (cloud(2, 64) * scale).requires_grad_()
        centers, patches, _ = ops.patchify(points, 8, 5)
        grads += torch.autograd.grad(centers.sum() + patches[..., 0].sum(), points)
    assert torch.equal(*grads)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_still_refused(value):
    points = cloud(3, 64) * HUGE
    points[2, 63, 2] = value
    with pytest.raises(ValueError, match="point 63 of cloud 2"):
        ops.fps(points, 2)
