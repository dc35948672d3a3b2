"""Attention against its definition in double precision."""

import pytest
import torch
from torch.autograd import gradcheck

from pointrecon.extensions import dispatch, ops
from pointrecon.extensions.attention import compiled


@pytest.fixture(params=["compiled", "reference"], scope="module", autouse=True)
def backend(request):
    if reason := dispatch.why_unavailable(request.param, "cpu"):
        pytest.skip(f"{request.param}: {reason}")
    dispatch.use_backend(request.param)
    yield request.param
    dispatch.use_backend(None)


def random_tensor(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def naive(q, k, v):
    """(B, Q, H, D), (B, T, H, D) twice -> (B, Q, H * D)."""
    logits = torch.einsum("bqhd,bthd->bhqt", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bhqt,bthd->bqhd", logits.softmax(dim=-1), v).flatten(2)


def check(function, definition, inputs, rtol=1e-5, atol=2e-6):
    """Value and gradients in float32 against those of the definition in float64."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    out, wanted = function(*inputs), definition(*exact)
    factor = random_tensor(*out.shape, seed=9)
    torch.testing.assert_close(out.double(), wanted, rtol=rtol, atol=atol)
    grads = torch.autograd.grad((out * factor).sum(), inputs)
    for one, two in zip(grads, torch.autograd.grad((wanted * factor).sum(), exact), strict=True):
        torch.testing.assert_close(one.double(), two, rtol=rtol, atol=5 * atol)


# Tokens below, at and above whole vectors and whole groups of rows; widths that the library takes and others.
TOKENS = [1, 2, 3, 5, 15, 16, 17, 26, 64, 67, 131]


@pytest.mark.parametrize("width", [16, 48, 64, 80, 6])
@pytest.mark.parametrize("num_tokens", TOKENS)
def test_self_attention(num_tokens, width):
    check(ops.attention, lambda x: naive(*x.unbind(2)), [random_tensor(2, num_tokens, 3, 3, width)])


@pytest.mark.parametrize("width", [16, 64, 5])
@pytest.mark.parametrize(("num_queries", "num_tokens"), [(1, 1), (3, 26), (38, 64), (3, 1), (64, 7), (0, 4)])
def test_cross_attention(num_queries, num_tokens, width):
    q, kv = random_tensor(3, num_queries, 2, width), random_tensor(3, num_tokens, 2, 2, width, seed=1)
    check(ops.cross_attention, lambda a, b: naive(a, *b.unbind(2)), [q, kv])


def test_more_tokens_than_are_kept():
    check(ops.attention, lambda x: naive(*x.unbind(2)), [random_tensor(1, compiled.MAX_TOKENS + 1, 3, 1, 16)])


def rounding_bounds(q, k, v, grad):
    """How far float32 may be off, element by element: of the output, and of the gradients in q, k and v.

    A logit of width D is a sum of D rounded products. Its error is below (D + 3) u sum|q k| / sqrt(D) in whatever order
    a processor adds them (Higham, Accuracy and Stability, 3.1); a weight's relative error is that of two logits. The
    rest is first-order propagation, with 16 u for the sums that follow.

    Args:
        q: (B, Q, H, D) float64.
        k: (B, T, H, D) float64.
        v: (B, T, H, D) float64.
        grad: (B, Q, H, D) float64, the gradient in the output.
    """
    unit, root = 2.0**-24, q.shape[-1] ** 0.5
    spread = torch.einsum("bqhd,bthd->bhqt", q.abs(), k.abs()).amax(dim=-1, keepdim=True) / root
    relative = 2 * (q.shape[-1] + 3) * unit * spread + 16 * unit
    weights = (torch.einsum("bqhd,bthd->bhqt", q, k) / root).softmax(dim=-1)
    of_weights = relative * weights
    pull = torch.einsum("bqhd,bthd->bhqt", grad.abs(), v.abs())
    mean_pull = (weights * pull).sum(dim=-1, keepdim=True)
    of_logits = of_weights * (pull + mean_pull) + weights * (of_weights * pull).sum(dim=-1, keepdim=True)
    return (
        torch.einsum("bhqt,bthd->bqhd", of_weights, v.abs()),
        torch.einsum("bhqt,bthd->bqhd", of_logits, k.abs()) / root,
        torch.einsum("bhqt,bqhd->bthd", of_logits, q.abs()) / root,
        torch.einsum("bhqt,bqhd->bthd", of_weights, grad.abs()),
    )


@pytest.mark.parametrize("factor", [1e-3, 10, 30])
def test_flat_and_steep_weights(factor):
    x = random_tensor(2, 20, 3, 2, 32)
    x[:, :, :2] *= factor
    x.requires_grad_()
    exact = x.detach().double().requires_grad_()
    out, wanted = ops.attention(x), naive(*exact.unbind(2))
    grad = random_tensor(*out.shape, seed=9)
    (got,), (right,) = torch.autograd.grad(out, x, grad), torch.autograd.grad(wanted, exact, grad.double())
    of_out, *of_grads = rounding_bounds(*exact.detach().unbind(2), grad.double().unflatten(-1, (2, 32)))
    assert ((out.double() - wanted).abs() <= of_out.flatten(2) + 1e-7).all()
    assert ((got.double() - right).abs() <= torch.stack(of_grads, dim=2) + 1e-7).all()


def test_weights_far_below_the_largest_vanish():
    x = torch.zeros(1, 3, 3, 1, 16)
    x[0, :, 0], x[0, 1, 1], x[0, :, 2] = 30.0, 30.0, torch.arange(1.0, 4.0).view(3, 1, 1)
    assert (ops.attention(x) == 2.0).all()


def test_a_token_that_is_no_number_is_not_lost():
    x = random_tensor(2, 20, 3, 2, 16)
    x[0, 4, 1, 0, 3] = float("nan")
    out = ops.attention(x).unflatten(-1, (2, 16))
    assert out[0, :, 0].isnan().all()
    assert out[0, :, 1].isfinite().all() and out[1].isfinite().all()


def test_logits_beyond_all_numbers_give_no_number():
    x = torch.ones(1, 17, 3, 1, 16)
    x[0, 3, :2] = 1e30
    assert ops.attention(x)[0, 3].isnan().all()


def test_any_stride():
    x = random_tensor(3, 2, 10, 3, 32).permute(1, 2, 3, 0, 4)
    torch.testing.assert_close(ops.attention(x), naive(*x.unbind(2)), rtol=1e-5, atol=1e-5)
    out = ops.attention(x.detach().requires_grad_())
    out.transpose(0, 1).square().sum().backward()


@pytest.mark.parametrize("shape", [(0, 5, 3, 2, 16), (2, 1, 3, 1, 16)])
def test_small_batches(shape):
    assert ops.attention(random_tensor(*shape)).shape == (*shape[:2], shape[3] * shape[4])


def test_double_precision_has_the_right_gradient():
    assert gradcheck(ops.attention, (random_tensor(2, 3, 3, 1, 4, dtype=torch.float64).requires_grad_(),))
    pair = random_tensor(2, 2, 1, 4, dtype=torch.float64), random_tensor(2, 3, 2, 1, 4, seed=1, dtype=torch.float64)
    assert gradcheck(ops.cross_attention, tuple(x.requires_grad_() for x in pair))


def test_autocast_and_half_precision_hold():
    x = random_tensor(2, 20, 3, 2, 32)
    with torch.autocast("cpu", torch.bfloat16):
        assert ops.attention(x.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(ops.attention(x.bfloat16()).float(), ops.attention(x), rtol=0.05, atol=0.05)


def test_the_compiler_traces_through():
    torch.compiler.reset()
    x = random_tensor(2, 5, 3, 2, 16)
    torch.testing.assert_close(torch.compile(ops.attention, fullgraph=True, backend="aot_eager")(x), ops.attention(x))


@pytest.mark.parametrize("shape", [(2, 5, 2, 2, 16), (2, 5, 3, 16), (5,)])
def test_a_shape_of_attention_that_does_not_fit_is_named(shape):
    with pytest.raises(ValueError, match="attention takes"):
        ops.attention(torch.zeros(shape))


@pytest.mark.parametrize(
    ("q", "kv"),
    [
        ((2, 5, 2, 16), (3, 5, 2, 2, 16)),
        ((2, 5, 2, 16), (2, 5, 2, 2, 32)),
        ((2, 5, 2, 16), (2, 5, 3, 2, 16)),
        ((2, 5, 2, 16), (2, 0, 2, 2, 16)),
        ((2, 5, 32), (2, 5, 2, 2, 16)),
    ],
)
def test_shapes_of_cross_attention_that_do_not_fit_are_named(q, kv):
    with pytest.raises(ValueError, match="cross_attention takes"):
        ops.cross_attention(torch.zeros(q), torch.zeros(kv))


def test_threads_change_nothing(monkeypatch):
    x = random_tensor(16, 26, 3, 6, 64).requires_grad_()
    results = []
    for num_threads in (1, 2, 3, 8):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=num_threads: count)
        out = ops.attention(x)
        results.append((out.detach(), *torch.autograd.grad(out.square().sum(), x)))
    for result in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(result, results[0], strict=True))
