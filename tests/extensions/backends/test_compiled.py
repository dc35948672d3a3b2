"""The compiled CPU backend gives what the reference gives: the same indices, ties included."""

import os
import signal

import pytest
import torch

from pointrecon.extensions import dispatch
from pointrecon.extensions.backends import compiled, library, reference

REASON = dispatch.why_unavailable("compiled", "cpu")
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


def random_points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lattice(*shape):
    """Few different coordinates: ties everywhere."""
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(0)).float()


# Below and above the size from which clouds are sorted, whole tiles of 64 and not.
CLOUDS = {
    "64 points": random_points(2, 64, 3),
    "65 points": random_points(1, 65, 3),
    "1024 points": random_points(5, 1024, 3),
    "1000 points, ties": lattice(2, 1000, 3),
    "3072 points": random_points(2, 3072, 3),
    "3073 points, ties": lattice(1, 3073, 3),
    "4001 points, all equal": torch.full((1, 4001, 3), 0.3),
    "4000 points, on a line": random_points(1, 4000, 3) * torch.tensor([0.0, 1.0, 0.0]),
    "4000 points, far from the origin": random_points(1, 4000, 3) / 10 + 1000,
    "4000 points, one far away": torch.cat([random_points(1, 3999, 3), torch.full((1, 1, 3), 1e6)], dim=1),
    "4000 points, distances overflow": random_points(1, 4000, 3) * 1e19,
}


@pytest.fixture(params=CLOUDS, ids=lambda name: name.replace(",", "").replace(" ", "-"))
def large_cloud(request):
    """(B, N, 3) float32."""
    return CLOUDS[request.param]


def test_fps(large_cloud):
    assert torch.equal(compiled.fps(large_cloud, 48), reference.fps(large_cloud, 48))


@pytest.mark.parametrize("k", [1, 32, 64, 65, 300, "all"])
def test_knn(large_cloud, k):
    num_points = large_cloud.shape[1]
    k = num_points if k == "all" else min(k, num_points)
    for queries in (large_cloud[:, :5].contiguous(), random_points(len(large_cloud), 3, 3, seed=1)):
        assert torch.equal(compiled.knn(large_cloud, queries, k), reference.knn(large_cloud, queries, k))


def test_patchify(large_cloud):
    for actual, wanted in zip(
        compiled.patchify(large_cloud, 20, 16), reference.patchify(large_cloud, 20, 16), strict=True
    ):
        assert torch.equal(actual, wanted)


def test_every_point_is_picked_in_the_end():
    cloud = random_points(1, 3100, 3)
    assert compiled.fps(cloud, 3100).sort().values.tolist() == [list(range(3100))]


def test_three_nn_and_nearest(large_cloud):
    queries = random_points(len(large_cloud), 37, 3, seed=1)
    for actual, wanted in (
        (compiled.three_nn(queries, large_cloud), reference.three_nn(queries, large_cloud)),
        (compiled.nearest(queries, large_cloud), reference.nearest(queries, large_cloud)),
    ):
        assert torch.equal(actual[1], wanted[1])
        torch.testing.assert_close(actual[0], wanted[0], rtol=1e-5, atol=0)


def test_the_third_neighbour_of_points_that_are_infinitely_far_or_equal():
    far = torch.tensor([[[3e38, 0, 0], [1, 0, 0], [3e38, 0, 0], [2, 0, 0], [2, 0, 0]]])
    query = torch.tensor([[[-3e38, 0, 0], [0, 0, 0], [2, 0, 0]]])
    assert compiled.three_nn(query, far)[1].tolist() == reference.three_nn(query, far)[1].tolist()


@pytest.mark.parametrize("norm", [1, 2])
def test_chamfer_value_and_gradient(cloud, norm):
    other = random_points(cloud.shape[0], 33, 3, seed=2)
    results = []
    for backend in (compiled, reference):
        a, b = cloud.clone().requires_grad_(), other.clone().requires_grad_()
        distance = backend.chamfer_distance(a, b, norm)
        results.append((distance.detach(), *torch.autograd.grad(3 * distance, (a, b))))
    for actual, wanted in zip(*results, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))


def test_threads_give_the_same(monkeypatch):
    cloud = random_points(5, 700, 3)
    wanted = reference.patchify(cloud, 64, 32)
    for num_threads in (1, 2, 3, 8):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=num_threads: count)
        for _ in range(5):
            actual = compiled.patchify(cloud, 64, 32)
            assert all(torch.equal(one, two) for one, two in zip(actual, wanted, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_computes_too(monkeypatch):
    # Of the pool's threads nothing is left after a fork, as in the workers of a loader.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    cloud = random_points(4, 2000, 3)
    wanted = compiled.fps(cloud, 100)
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends the child if it waits for threads that are not there
        os._exit(0 if torch.equal(compiled.fps(cloud, 100), wanted) else 1)
    assert os.waitpid(child, 0)[1] == 0


def sums():
    """What runs in the threads of torch's matrix products, where there are some."""
    qkv = random_points(8, 26, 3, 4, 64).requires_grad_()
    x, weight = random_points(60, 32, 128, seed=1).requires_grad_(), random_points(64, 128, seed=2).requires_grad_()
    out, pooled = compiled.attention(qkv), compiled.linear_max(x, weight, relu=True)
    grads = torch.autograd.grad(out.square().sum() + pooled.square().sum(), (qkv, x, weight))
    return [out.detach(), pooled.detach(), *grads]


@pytest.mark.skipif(library.products_region() is None, reason="torch does not use libgomp here")
def test_the_threads_of_torchs_products_give_what_the_pool_gives(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    with_region = sums()
    library.load().point_ops_use_region(None)
    try:
        with_pool = sums()
    finally:
        library.load().point_ops_use_region(library.products_region())
    assert all(torch.equal(one, two) for one, two in zip(with_region, with_pool, strict=True))


def test_a_torch_with_other_threads_is_no_obstacle(monkeypatch):
    monkeypatch.setattr(library.ctypes, "CDLL", lambda path: object())
    assert library.products_region() is None
    monkeypatch.undo()
    monkeypatch.setattr(torch, "__file__", "/nowhere/torch/__init__.py")
    assert library.products_region() is None
