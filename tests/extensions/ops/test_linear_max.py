"""The maximum over points of a linear map, against torch's own operations one after the other."""

import pytest
import torch
from torch.autograd import gradcheck

from pointrecon.extensions import dispatch, ops


@pytest.fixture(params=["compiled", "reference"], scope="module", autouse=True)
def backend(request):
    if reason := dispatch.why_unavailable(request.param, "cpu"):
        pytest.skip(f"{request.param}: {reason}")
    dispatch.use_backend(request.param)
    yield request.param
    dispatch.use_backend(None)


def random_tensor(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def naive(x, weight):
    values, index = (x @ weight.T).max(dim=1)
    chosen = torch.stack([x[p, index[p]] for p in range(len(x))])  # (P, C, D)
    return (chosen * weight).sum(dim=-1), values


@pytest.mark.parametrize("shape", [(3, 5, 7, 9), (20, 32, 512, 40)])
def test_relu_in_front(shape):
    num_patches, num_points, width, channels = shape
    x = random_tensor(num_patches, num_points, width).requires_grad_()
    weight = random_tensor(channels, width, seed=1).requires_grad_()
    results = []
    for best in (ops.linear_max(x, weight, relu=True), (x.relu() @ weight.T).max(dim=1).values):
        results.append((best, *torch.autograd.grad(best.square().sum(), (x, weight))))
    for actual, wanted in zip(*results, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-3)


# Channels and widths below, at and above whole vectors and whole groups of them.
@pytest.mark.parametrize(
    ("num_patches", "num_points", "width", "channels"),
    [(1, 1, 1, 1), (3, 5, 7, 9), (2, 32, 128, 256), (5, 4, 130, 33), (4, 3, 300, 70), (0, 4, 8, 8)],
)
def test_value_and_gradients(num_patches, num_points, width, channels):
    x = random_tensor(num_patches, num_points, width).requires_grad_()
    weight = random_tensor(channels, width, seed=1).requires_grad_()
    factor = random_tensor(num_patches, channels, seed=2)
    best = ops.linear_max(x, weight)
    assert best.shape == (num_patches, channels)
    actual = torch.autograd.grad((best * factor).sum(), (x, weight))
    if not num_patches:
        assert actual[0].shape == x.shape and not actual[1].any()
        return
    value, plain = naive(x, weight)
    torch.testing.assert_close(best, plain)
    wanted = torch.autograd.grad((value * factor).sum(), (x, weight))
    for one, two in zip(actual, wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def test_the_first_of_equal_points_has_the_gradient():
    # Whole numbers: a matrix product may round equal rows differently, at other places of its tiles.
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(-9, 9, (2, 1, 20), generator=draw).float().repeat(1, 4, 1).requires_grad_()
    weight = torch.randint(1, 9, (18, 20), generator=draw).float()
    (grad,) = torch.autograd.grad(ops.linear_max(x, weight).sum(), x)
    assert grad[:, 0].abs().min() > 0 and not grad[:, 1:].any()


@pytest.mark.parametrize("channel", [3, 17])  # in a whole vector, and behind it
@pytest.mark.parametrize("point", [0, 1, 3])
def test_nan_is_not_lost(point, channel):
    x, weight = torch.ones(1, 4, 18), torch.eye(18)
    x[0, point, channel] = float("nan")
    best = ops.linear_max(x, weight)
    assert best[0, channel].isnan()
    # NaN times 0 is NaN, so every channel has met it; no other value may come out.
    assert best.isnan().all()


def test_infinity_wins():
    x = torch.zeros(1, 3, 1)
    x[0, 1, 0] = float("inf")
    assert ops.linear_max(x, torch.ones(20, 1)).isposinf().all()
    assert (ops.linear_max(x, -torch.ones(20, 1)) == 0).all()


def test_any_stride():
    x, weight = random_tensor(6, 30, 5).transpose(1, 2), random_tensor(6, 8, seed=1).T[:, :6]
    with pytest.raises(ValueError, match=r"\(6, 5, 30\) and \(8, 6\)"):
        ops.linear_max(x, weight)
    weight = random_tensor(30, 8, seed=1).T
    torch.testing.assert_close(ops.linear_max(x, weight), (x @ weight.T).max(dim=1).values)


def test_double_precision_has_the_right_gradient():
    x = random_tensor(2, 4, 3, dtype=torch.float64).requires_grad_()
    weight = random_tensor(5, 3, seed=1, dtype=torch.float64).requires_grad_()
    assert gradcheck(ops.linear_max, (x, weight))


def test_autocast_holds():
    x, weight = random_tensor(3, 4, 8), random_tensor(5, 8, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        best = ops.linear_max(x, weight)
    assert best.dtype == torch.bfloat16
    torch.testing.assert_close(best.float(), ops.linear_max(x, weight), rtol=0.02, atol=0.05)


def test_the_compiler_traces_through():
    torch.compiler.reset()
    compiled = torch.compile(ops.linear_max, fullgraph=True, backend="aot_eager")
    x, weight = random_tensor(3, 4, 8), random_tensor(5, 8, seed=1)
    torch.testing.assert_close(compiled(x, weight), ops.linear_max(x, weight))


@pytest.mark.parametrize("shapes", [((4, 3), (2, 3)), ((2, 4, 3), (2, 4)), ((2, 0, 3), (2, 3)), ((2, 4, 3), (3,))])
def test_shapes_that_do_not_fit_are_named(shapes):
    with pytest.raises(ValueError, match="linear_max takes"):
        ops.linear_max(*(torch.zeros(shape) for shape in shapes))


def test_threads_change_nothing(monkeypatch):
    x, weight = random_tensor(40, 32, 128).requires_grad_(), random_tensor(200, 128, seed=1).requires_grad_()
    results = []
    for num_threads in (1, 2, 3, 8):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=num_threads: count)
        best = ops.linear_max(x, weight)
        results.append((best.detach(), *torch.autograd.grad(best.square().sum(), (x, weight))))
    for result in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(result, results[0], strict=True))
