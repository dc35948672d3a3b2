"""Chamfer distances of clouds whose squared distances are no numbers of their type, against double precision."""

import pytest
import torch

from pointrecon.extensions import dispatch, ops, use_backend
from pointrecon.extensions.chamfer.reference import length
from pointrecon.extensions.chamfer.registered import registered_pairs
from tests.extensions.ops.test_scale import cloud

EXPONENTS = [-116, -83, 45, 61, 66, 123]


@pytest.fixture(params=["compiled", "reference"], autouse=True)
def backend(request):
    if reason := dispatch.why_unavailable(request.param, "cpu"):
        pytest.skip(reason)
    use_backend(request.param)
    yield request.param
    use_backend(None)


def random(*shape, seed=0):
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed))


def both(function, a, b, scale):
    """Value and gradients in a and b of a function of clouds times a scale."""
    leaves = [(x * scale).requires_grad_() for x in (a, b)]
    value = function(*leaves)
    return value.detach(), *torch.autograd.grad(value, leaves)


def assert_scaled(results, wanted, scale, norm):
    """They are those of the clouds times the scale: its power times the value, a power less times the gradients."""
    for ours, exact, power in zip(results, wanted, (norm, norm - 1, norm - 1), strict=True):
        exact = (exact.double() * scale**power).to(ours.dtype)  # which may overflow by itself
        torch.testing.assert_close(ours, exact, rtol=2e-5, atol=1e-6 * exact.abs().max().nan_to_num().item())


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_distance_and_gradient_of_any_size(exponent, norm):
    a, b = random(3, 40), random(3, 33, seed=1)
    wanted = both(lambda a, b: ops.chamfer_distance(a, b, norm), a.double(), b.double(), 1.0)
    results = both(lambda a, b: ops.chamfer_distance(a, b, norm), a, b, 2.0**exponent)
    assert_scaled(results, wanted, 2.0**exponent, norm)
    assert all(grad.isfinite().all() for grad in results[1:])
    without_grad = ops.chamfer_distance(a * 2.0**exponent, b * 2.0**exponent, norm)
    torch.testing.assert_close(without_grad, results[0], rtol=2e-7, atol=0)


@pytest.mark.parametrize("exponent", [-660, 660, 1000])
def test_double_precision_of_any_size(exponent):
    a, b = random(2, 9).double(), random(2, 7, seed=1).double()
    wanted = both(lambda a, b: ops.chamfer_distance(a, b, 1), a, b, 1.0)
    results = both(lambda a, b: ops.chamfer_distance(a, b, 1), a, b, 2.0**exponent)
    for ours, exact, power in zip(results, wanted, (1, 0, 0), strict=True):
        torch.testing.assert_close(ours / 2.0 ** (exponent * power), exact, rtol=1e-12, atol=1e-14)


def test_each_pair_of_a_batch_has_its_own_size():
    a, b = random(3, 9), random(3, 7, seed=1)
    scale = torch.tensor([2.0**-83, 1.0, 2.0**66]).view(3, 1, 1)
    _, *grads = both(lambda a, b: ops.chamfer_distance(a, b, 1), a, b, scale)
    _, *wanted = both(lambda a, b: ops.chamfer_distance(a, b, 1), a, b, 1.0)
    for ours, exact in zip(grads, wanted, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("exponent", [-83, 0, 66])
def test_points_that_coincide_pull_nothing(exponent):
    a = cloud(1, 5) * 2.0**exponent
    value, *grads = both(lambda a, b: ops.chamfer_distance(a, b, 1), a, a.clone(), 1.0)
    assert value == 0 and not any(grad.any() for grad in grads)


@pytest.mark.parametrize("exponent", [-83, 66])
def test_a_networks_output_that_is_not_finite_still_gives_a_loss_that_is_not(exponent):
    a, b = random(2, 9) * 2.0**exponent, random(2, 7, seed=1) * 2.0**exponent
    a[1, 2, 0] = float("nan")
    with pytest.raises(ValueError, match="a .* must be finite, but point 2 of cloud 1"):
        ops.chamfer_distance(a, b, 1)
    assert not ops.chamfer_distance(a.requires_grad_(), b, 1).isfinite()


def test_second_derivatives_of_tiny_clouds():
    def penalty(scale, dtype):
        a = (random(1, 6).to(dtype) * scale).requires_grad_()
        b = random(1, 5, seed=1).to(dtype) * scale
        (first,) = torch.autograd.grad(ops.chamfer_distance(a, b, 1), a, create_graph=True)
        return torch.autograd.grad((first * random(1, 6, seed=2).to(dtype)).sum(), a)[0] * scale

    torch.testing.assert_close(penalty(2.0**-83, torch.float32).double(), penalty(1.0, torch.float64), **CLOSE)


CLOSE = {"rtol": 1e-4, "atol": 1e-6}
WRAPPERS = {
    "compiled": lambda f, *x: torch.compile(f, fullgraph=True, backend="aot_eager")(*x),
    "traced": lambda f, *x: torch.jit.trace(f, tuple(y.detach().clone() for y in x), check_trace=False)(*x),
    "a subclass": lambda f, *x: f(*(y.as_subclass(Marked) for y in x)).as_subclass(torch.Tensor),
    "vmap": lambda f, *x: torch.func.vmap(f)(*(y[None] for y in x))[0],
    "small pairs": lambda f, a, b: registered_pairs(a, b, 1)[0],
}


class Marked(torch.Tensor):
    """A subclass with nothing of its own."""


@pytest.mark.parametrize("exponent", [-83, 66])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_it_is_the_same_under_what_wraps_calls(wrapper, exponent):
    torch.compiler.reset()
    a, b = random(2, 9), random(2, 7, seed=1)
    wanted = both(lambda a, b: ops.chamfer_distance(a, b, 1), a.double(), b.double(), 1.0)
    results = both(
        lambda a, b: WRAPPERS[wrapper](lambda a, b: ops.chamfer_distance(a, b, 1), a, b), a, b, 2.0**exponent
    )
    assert_scaled(results, wanted, 2.0**exponent, 1)


def test_forward_derivative_of_tiny_clouds():
    a, b, along = random(2, 9), random(2, 7, seed=1), random(2, 9, seed=2)
    slopes = [
        torch.func.jvp(lambda a: ops.chamfer_distance(a, b * scale, 1), (a * scale,), (along,))[1]  # noqa: B023
        for scale in (1.0, 2.0**-83)
    ]
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=0)


@pytest.mark.parametrize("exponent", [-120, 0, 120])
def test_length_is_that_of_double_precision(exponent):
    vectors = random(64) * torch.tensor([1.0, 1e-4, 0.0])
    vectors[:3] = torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    exact = vectors.double().norm(dim=-1)
    vectors = (vectors * 2.0**exponent).requires_grad_()
    ours = length(vectors)
    torch.testing.assert_close(ours.double() / 2.0**exponent, exact, rtol=3e-7, atol=0)
    (grad,) = torch.autograd.grad(ours.sum(), vectors)
    assert not grad[0].any() and grad[1:].isfinite().all()
    torch.testing.assert_close(grad[1:].norm(dim=-1), torch.ones(63))
