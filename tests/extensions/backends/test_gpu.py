"""On a GPU the operations give what they give on the CPU, ties included, and faster than the reference does there.

The table of test_triton_kernels.py runs on a GPU as well; here are the public face, sizes as in training, and times.
"""

import statistics

import pytest
import torch

from pointrecon.extensions import ops
from pointrecon.extensions.backends import reference

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]

# (B, N) -> G, the sizes that are timed
SIZES = {(128, 1024): 64, (32, 2048): 128, (32, 8192): 512, (1, 100_000): 1024}
# and some around the places where the schedule of farthest point sampling changes
OTHER_SIZES = {(1, 1): 1, (3, 257): 257, (2, 8193): 99, (1, 16_384): 128, (5, 30_001): 64, (140, 9000): 32}
NUM_NEIGHBORS = 32
HOPPER = (9, 0)


@pytest.fixture
def kernels():
    """The Triton backend, or a failure that says why it cannot run on this GPU."""
    backend = pytest.importorskip("pointrecon.extensions.backends.triton")
    assert not backend.unavailable_reason("cuda")
    return backend


def random_cloud(batch, num_points):
    return torch.randn(batch, num_points, 3, generator=torch.Generator().manual_seed(0)).cuda()


def coarse_cloud(batch, num_points):
    """Points of a grid: nearly every distance occurs many times, and so do points."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-9, 10, (batch, num_points, 3), generator=generator).float().cuda()


def milliseconds(call, repeats=20):
    """Median time of a call, warm."""
    times = []
    for repeat in range(repeats + 3):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times += [start.elapsed_time(end)] if repeat >= 3 else []
    return statistics.median(times)


def milliseconds_on_the_gpu(call):
    """The same of a call recorded once and replayed: without what Python takes to launch it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return milliseconds(graph.replay)


@pytest.fixture(scope="module")
def table(request):
    """Rows that are shown when the tests of this file are through."""
    rows = []
    yield rows
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("", torch.cuda.get_device_name(), *rows, sep="\n")


def test_indices_are_those_of_the_cpu(cloud):
    on_gpu = cloud.cuda()
    num_samples, k = min(8, cloud.shape[1]), min(5, cloud.shape[1])
    assert torch.equal(ops.fps(on_gpu, num_samples).cpu(), ops.fps(cloud, num_samples))
    assert torch.equal(ops.knn(on_gpu, on_gpu, k).cpu(), ops.knn(cloud, cloud, k))


@pytest.mark.parametrize("norm", [1, 2])
def test_chamfer_is_that_of_the_cpu(norm):
    a, b = torch.randn(4, 20, 3), torch.randn(4, 30, 3)
    torch.testing.assert_close(ops.chamfer_distance(a.cuda(), b.cuda(), norm).cpu(), ops.chamfer_distance(a, b, norm))


def test_attention_is_that_of_the_cpu():
    qkv = torch.randn(2, 26, 3, 4, 32, generator=torch.Generator().manual_seed(0))
    results = []
    for device in ("cpu", "cuda"):
        x = qkv.to(device).requires_grad_()
        outputs = ops.attention(x), ops.cross_attention(x[:, :5, 0], x[:, :, 1:])
        gradients = torch.autograd.grad(sum(out.square().sum() for out in outputs), x)
        results.append([value.detach().cpu() for value in (*outputs, *gradients)])
    for on_cpu, on_gpu in zip(*results, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", [random_cloud, coarse_cloud])
@pytest.mark.parametrize("shape", SIZES | OTHER_SIZES, ids=str)
class TestSizes:
    def test_fps(self, kernels, make, shape):
        cloud, num_samples = make(*shape), (SIZES | OTHER_SIZES)[shape]
        assert torch.equal(kernels.fps(cloud, num_samples), reference.fps(cloud, num_samples))

    @pytest.mark.parametrize("k", [1, 32, 128])
    def test_knn(self, kernels, make, shape, k):
        cloud, k = make(*shape), min(k, shape[1])
        queries = cloud[:, :: max(1, shape[1] // 50)] + 0.25
        assert torch.equal(kernels.knn(cloud, queries, k), reference.knn(cloud, queries, k))

    def test_patchify(self, kernels, make, shape):
        cloud, num_groups, k = make(*shape), min(40, shape[1]), min(NUM_NEIGHBORS, shape[1])
        for actual, wanted in zip(
            kernels.patchify(cloud, num_groups, k), reference.patchify(cloud, num_groups, k), strict=True
        ):
            assert torch.equal(actual, wanted)


def test_programs_that_share_a_cloud_agree_every_time(kernels):
    cloud = coarse_cloud(2, 50_000)
    wanted = reference.fps(cloud, 200)
    assert all(torch.equal(kernels.fps(cloud, 200), wanted) for _ in range(50))


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("pairs, num_a, num_b", [(4864, 32, 32), (7, 64, 33), (3, 1000, 700)])
def test_chamfer_of_many_pairs(kernels, norm, pairs, num_a, num_b):
    results = []
    for backend in (kernels, reference):
        a, b = random_cloud(pairs, num_a).requires_grad_(), random_cloud(pairs, num_b).flip(1).requires_grad_()
        distance = backend.chamfer_distance(a, b, norm)
        results.append([distance.detach(), *torch.autograd.grad(distance, (a, b))])
    for actual, wanted in zip(*results, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_time_of_patches(kernels, table, shape):
    cloud, num_groups = random_cloud(*shape), SIZES[shape]
    centers = reference.gather(cloud, kernels.fps(cloud, num_groups))
    calls = {
        "fps": lambda backend: backend.fps(cloud, num_groups),
        "knn": lambda backend: backend.knn(cloud, centers, NUM_NEIGHBORS),
    }
    for name, call in calls.items():
        ours, plain = milliseconds(lambda: call(kernels)), milliseconds(lambda: call(reference), repeats=5)  # noqa: B023
        table.append(f"{name} {shape} -> {num_groups}: {ours:.3f} ms, reference {plain:.3f} ms")
        assert ours < plain
    whole = milliseconds(lambda: kernels.patchify(cloud, num_groups, NUM_NEIGHBORS))
    table.append(f"patchify {shape} -> {num_groups} x {NUM_NEIGHBORS}: {whole:.3f} ms")
    if shape == (128, 1024) and torch.cuda.get_device_capability() >= HOPPER:
        assert whole < 0.3


def test_time_of_chamfer(kernels, table):
    a, b = random_cloud(128 * 38, 32).requires_grad_(), random_cloud(128 * 38, 32).flip(1).requires_grad_()

    def both_passes(backend):
        return torch.autograd.grad(backend.chamfer_distance(a, b, 2), (a, b))

    def read_and_write():
        return [x.detach().clone() for x in (a, b)]

    ours, plain = milliseconds(lambda: both_passes(kernels)), milliseconds(lambda: both_passes(reference))
    table.append(f"chamfer 4864 x 32 x 32, both passes: {ours:.3f} ms, reference {plain:.3f} ms")
    assert ours < plain
    ours, copies = milliseconds_on_the_gpu(lambda: both_passes(kernels)), milliseconds_on_the_gpu(read_and_write)
    table.append(f"the same without the launches: {ours:.4f} ms, copying both sides {copies:.4f} ms (wanted: twice)")
