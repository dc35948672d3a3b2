"""The operations as torch's own: traced whole by the compiler, with shapes and gradients."""

import pytest
import torch

from pointrecon.extensions import ops
from pointrecon.extensions.attention import reference as attention
from pointrecon.extensions.chamfer.registered import registered_nearest, registered_pairs
from pointrecon.extensions.fps.registered import registered_fps
from pointrecon.extensions.interpolate.registered import registered_three_nn
from pointrecon.extensions.knn.registered import registered_knn
from pointrecon.extensions.patchify.registered import registered_patchify
from pointrecon.extensions.pooling.registered import registered_pool_max


def random_points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def every_operation(points, other):
    """A scalar through all of them."""
    centers, patches, index = ops.patchify(points, 6, 5)
    squared, nearest = ops.three_nn(points, centers)
    spread = ops.three_interpolate(centers, nearest, torch.softmax(-squared, dim=-1))
    picked = ops.gather(points, ops.fps(points, 4))
    around = ops.group(points, ops.knn(points, picked, 3))
    losses = ops.chamfer_distance(patches.flatten(0, 1), other, 1) + ops.chamfer_distance(spread, points, 2)
    return losses + around.square().mean() + index.float().mean()


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_compiler_traces_through_without_a_break(dynamic):
    # aot_eager makes and differentiates the graph; inductor would compile it, which takes long and adds nothing here.
    torch.compiler.reset()
    compiled = torch.compile(every_operation, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for num_points in (20, 33):
        results = []
        for function in (compiled, every_operation):
            points = random_points(2, num_points, 3).requires_grad_()
            other = random_points(12, 7, 3, seed=1).requires_grad_()
            loss = function(points, other)
            results.append((loss.detach(), *torch.autograd.grad(loss, (points, other))))
        for actual, wanted in zip(*results, strict=True):
            torch.testing.assert_close(actual, wanted)


@pytest.mark.slow  # compiles C++
def test_inductor_gives_the_same():
    torch.compiler.reset()
    points, other = random_points(2, 20, 3), random_points(12, 7, 3, seed=1)
    compiled = torch.compile(every_operation, fullgraph=True)
    torch.testing.assert_close(compiled(points, other), every_operation(points, other))


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        (registered_fps, lambda points, queries: (points, 4)),
        (registered_knn, lambda points, queries: (points, queries, 3)),
        (registered_patchify, lambda points, queries: (points, 4, 3)),
        (registered_three_nn, lambda points, queries: (queries, points)),
        (registered_nearest, lambda points, queries: (queries, points)),
    ],
)
def test_the_registration_is_sound(operation, arguments):
    points, queries = random_points(2, 9, 3), random_points(2, 5, 3, seed=1)
    if operation in (registered_three_nn, registered_nearest, registered_patchify):
        points.requires_grad_()
        queries.requires_grad_()
    # Shapes of the fake kernels, schema, autograd; all of them with static and symbolic sizes.
    torch.library.opcheck(operation, arguments(points, queries))


def test_a_mistake_in_the_numbers_is_told_by_a_compiled_function_too():
    torch.compiler.reset()
    compiled = torch.compile(lambda points: ops.fps(points, 2), fullgraph=True, backend="eager")
    points = torch.zeros(1, 4, 3)
    assert compiled(points).tolist() == [[0, 0]]
    points[0, 1, 2] = float("nan")
    with pytest.raises(ValueError, match="point 1 of cloud 0"):
        compiled(points)


def test_a_compiled_chamfer_refuses_what_is_not_finite_unless_a_network_put_it_out():
    torch.compiler.reset()
    compiled = torch.compile(ops.chamfer_distance, fullgraph=True, backend="eager")
    a, b = random_points(2, 5, 3), random_points(2, 6, 3, seed=1)
    torch.testing.assert_close(compiled(a, b), ops.chamfer_distance(a, b))
    bad = a.clone()
    bad[1, 2, 0] = float("inf")
    for pair in ((bad, b), (b, bad)):
        with pytest.raises(ValueError, match="must be finite, but point 2 of cloud 1"):
            compiled(*pair)
    assert not compiled(bad.requires_grad_(), b).isfinite()


@pytest.mark.parametrize("norm", [1, 2])
def test_small_pairs_in_one_operation_are_the_same(norm):
    """What a compiled network runs on a GPU, here traced with the reference below it."""
    torch.compiler.reset()
    in_one = torch.compile(lambda a, b: registered_pairs(a, b, norm)[0], fullgraph=True, backend="aot_eager")
    results = []
    for function in (in_one, lambda a, b: ops.chamfer_distance(a, b, norm)):
        a, b = random_points(4, 9, 3).requires_grad_(), random_points(4, 7, 3, seed=1).requires_grad_()
        with torch.no_grad():
            b[0, 0] = a[0, 0]  # where norm 1 has no derivative
        distance = 3 * function(a, b)
        results.append([distance.detach(), *torch.autograd.grad(distance, (a, b))])
    for actual, wanted in zip(*results, strict=True):
        torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize("norm", [1, 2])
def test_small_pairs_are_registered_in_full(norm):
    a, b = random_points(3, 5, 3).requires_grad_(), random_points(3, 4, 3, seed=1).requires_grad_()
    torch.library.opcheck(registered_pairs, (a, b, norm))
    bad = torch.full_like(a, float("nan"))
    with pytest.raises(ValueError, match="a .* must be finite"):
        registered_pairs(bad, b, norm, True, True)


def test_the_pooled_maximum_is_registered_in_full():
    x = random_points(4, 5, 6).requires_grad_()
    torch.library.opcheck(registered_pool_max, (x,))
    values, _ = registered_pool_max(x)
    (grad,) = torch.autograd.grad(values.square().sum(), x, create_graph=True)
    (wanted,) = torch.autograd.grad(x.max(dim=1).values.square().sum(), x)
    torch.testing.assert_close(grad, wanted)
    assert torch.autograd.gradcheck(lambda x: registered_pool_max(x)[0], x.detach().double().requires_grad_())


def test_the_kernel_for_short_attention_can_be_asked_for_in_a_compiled_network(monkeypatch):
    """On a CPU there is only the one that stands beside it; what is asked for must not break the graph."""
    monkeypatch.setattr(attention, "nullcontext", lambda: attention.sdpa_kernel(attention.FOR_SHORT))
    torch.compiler.reset()
    qkv = random_points(2, 7, 3, 2, 8)
    compiled = torch.compile(lambda qkv: attention.attention(qkv), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(qkv), ops.attention(qkv))
