"""Gradients of gradients: right where an operation has them, refused where a kernel has none."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pointrecon.extensions import dispatch, ops

pytestmark = pytest.mark.skipif(
    bool(dispatch.why_unavailable("compiled", "cpu")), reason="the CPU library is not built"
)


@pytest.fixture(params=["compiled", "reference"], autouse=True)
def backend(request):
    dispatch.use_backend(request.param)
    yield request.param
    dispatch.use_backend(None)


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("needs_grad", [(True, True), (True, False), (False, True)])
def test_chamfer_has_a_second_derivative(norm, needs_grad):
    def penalty(dtype):
        clouds = [random(2, 6 + seed, 3, seed=seed, dtype=dtype).requires_grad_(needs_grad[seed]) for seed in (0, 1)]
        wanted = [cloud for cloud in clouds if cloud.requires_grad]
        first = torch.autograd.grad(ops.chamfer_distance(*clouds, norm), wanted, create_graph=True)
        assert all(grad.requires_grad for grad in first)
        return [*first, *torch.autograd.grad(sum(grad.square().sum() for grad in first), wanted)]

    for ours, exact in zip(penalty(torch.float32), penalty(torch.float64), strict=True):
        torch.testing.assert_close(ours.detach().double(), exact.detach(), rtol=1e-4, atol=1e-6)


SECOND = {
    "attention": (
        lambda x: ops.attention(x.view(1, 3, 3, 1, 16)),
        r"inside torch.nn.attention.sdpa_kernel\(SDPBackend.M",
    ),
    "linear_max": (lambda x: ops.linear_max(x.view(3, 3, 16), random(5, 16)), ""),
}


@pytest.mark.parametrize("operation", SECOND)
def test_what_has_none_says_so_and_what_has(operation, backend):
    call, remedy = SECOND[operation]
    x = random(144, seed=1).requires_grad_()
    loss = call(x).square().sum()
    if backend == "compiled":
        message = f"{operation} has no second derivative in the backend compiled; POINT_OPS=reference has it {remedy}"
        with pytest.raises(RuntimeError, match=message.strip()):
            torch.autograd.grad(loss, x, create_graph=True)
        return
    with sdpa_kernel(SDPBackend.MATH):
        (first,) = torch.autograd.grad(call(x).square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        first = first.detach()
        near = [torch.autograd.grad(call(x + step).square().sum(), x)[0] for step in (1e-3 * first, -1e-3 * first)]
    torch.testing.assert_close(second.detach(), (near[0] - near[1]).detach() / 1e-3, rtol=0.05, atol=0.1)


def test_a_centre_that_is_sampled_again_gathers_all_gradients():
    points = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]]).requires_grad_()
    centers, _, _ = ops.patchify(points, 4, 2)
    (grad,) = torch.autograd.grad((centers * torch.tensor([1.0, 10, 100, 1000])[:, None]).sum(), points)
    assert ops.fps(points, 4).tolist() == [[0, 1, 0, 0]]  # nothing else is left
    assert grad[0, :, 0].tolist() == [1101, 10, 0, 0]


def test_patches_have_the_gradient_of_the_operations_one_after_the_other():
    one, two = (random(2, 30, 3).requires_grad_() for _ in range(2))
    centers, patches, _ = ops.patchify(one, 5, 4)
    picked = ops.gather(two, ops.fps(two, 5))
    around = ops.group(two, ops.knn(two, picked.detach(), 4)) - picked.unsqueeze(2)
    weights = random(2, 5, 3, seed=1), random(2, 5, 4, 3, seed=2)
    for x, loss in ((one, (centers, patches)), (two, (picked, around))):
        sum((part * weight).sum() for part, weight in zip(loss, weights, strict=True)).backward()
        assert x.grad.abs().sum() > 0
    torch.testing.assert_close(one.grad, two.grad)
