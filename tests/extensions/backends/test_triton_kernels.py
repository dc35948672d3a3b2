"""Every Triton kernel against the reference on the CPU.

With TRITON_INTERPRET=1 the kernels run in Triton's interpreter on the CPU (test_triton.py does that in a process of its
own), otherwise on a GPU. The interpreter takes milliseconds for what a GPU does in a microsecond: sizes are small.
"""

import os

import pytest
import torch
import triton

from pointrecon.extensions import dispatch, ops
from pointrecon.extensions.backends import launch, reference
from pointrecon.extensions.backends import triton as kernels
from pointrecon.extensions.chamfer import reference as chamfer_reference
from pointrecon.extensions.fps import triton as sampling

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if IS_INTERPRETED else "cuda"
NEEDS_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
pytestmark = [] if IS_INTERPRETED else NEEDS_GPU


def random_points(*shape, seed=0):
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed))


def few_values(*shape, seed=0):
    """Points of a coarse grid: many ties and duplicates."""
    return torch.randint(-2, 3, (*shape, 3), generator=torch.Generator().manual_seed(seed)).float()


def assert_same(actual, wanted):
    """Equal indices, on whatever device."""
    assert actual.dtype == torch.int64
    assert actual.tolist() == wanted.tolist()


def to_leaves(*tensors):
    """Copies that want a gradient, for the kernels and for the reference."""
    return [[x.clone().to(where).detach().requires_grad_() for x in tensors] for where in (DEVICE, "cpu")]


class TestFps:
    def test_resident(self, cloud):
        num_samples = min(cloud.shape[1], 8)
        assert_same(kernels.fps(cloud.to(DEVICE), num_samples), reference.fps(cloud, num_samples))

    @pytest.mark.slow
    def test_stepwise(self, cloud):
        """Blocks of 16: up to five parts, the last one not full."""
        cloud, num_samples = cloud[:2], min(cloud.shape[1], 4)
        picked = sampling.sample_stepwise(cloud.to(DEVICE), num_samples, 16)
        assert_same(picked, reference.fps(cloud, num_samples))

    @pytest.mark.parametrize("num_points", [1, 9])
    @pytest.mark.parametrize("sample", [kernels.fps, lambda points, n: sampling.sample_stepwise(points, n, 8)])
    def test_all_points_and_one(self, sample, num_points):
        cloud = few_values(2, num_points)
        assert_same(sample(cloud.to(DEVICE), num_points), reference.fps(cloud, num_points))
        assert_same(sample(cloud.to(DEVICE), 1), torch.zeros(2, 1, dtype=torch.int64))

    def test_a_strided_view_gives_the_same(self):
        view = random_points(2, 20).transpose(1, 2).contiguous().transpose(1, 2)
        assert_same(kernels.fps(view.to(DEVICE), 5), reference.fps(view, 5))

    @pytest.mark.skipif(not IS_INTERPRETED, reason="the programs that this one waits for do not run")
    @pytest.mark.parametrize("make", [random_points, few_values])
    def test_parts_agree(self, make):
        """One part of two, when the other has come first: it takes the other's point where that is the one to take."""
        cloud, num_samples = make(1, 40), 10
        wanted = reference.fps(cloud, num_samples)
        squared = reference.squared_distances(cloud[:, wanted[0]], cloud)[0]  # (G, N) from each pick
        nearest = squared.cummin(dim=0).values[:-1, 32:]
        farthest, index = nearest.max(dim=1).values, (nearest == nearest.amax(dim=1, keepdim=True)).int().argmax(dim=1)
        keys = torch.zeros(1, num_samples, dtype=torch.int64)
        keys[0, 1:] = (farthest.view(torch.int32).long() << 32) + 2**31 - 1 - (32 + index)
        assert len(set((wanted >= 32).tolist()[0])) == 2, "both parts must have a pick"
        picked, arrivals = torch.zeros_like(wanted), torch.ones(1, num_samples, dtype=torch.int32)
        arguments = (cloud, picked, keys, arrivals, 40, num_samples)
        launch.launch(sampling.resident_kernel, 1, *arguments, num_warps=1, BLOCK=32, PARTS=2)
        assert_same(picked, wanted)
        assert arrivals[0].tolist() == [1] + [2] * (num_samples - 1)

    def test_no_index_leaves_the_cloud_whatever_the_coordinates(self):
        cloud = random_points(1, 20)
        cloud[0, 3:9] = torch.tensor([float("nan"), float("inf"), -float("inf")])
        for picked in (kernels.fps(cloud.to(DEVICE), 8), sampling.sample_stepwise(cloud.to(DEVICE), 8, 16)):
            assert 0 <= picked.min() and picked.max() < 20


class TestKnn:
    @pytest.mark.parametrize("k", [1, 6])
    def test_is_the_reference(self, cloud, k):
        k, queries = min(k, cloud.shape[1]), cloud[:, -1:]
        assert_same(kernels.knn(cloud.to(DEVICE), queries.to(DEVICE), k), reference.knn(cloud, queries, k))

    @pytest.mark.parametrize("make", [random_points, few_values])
    def test_all_points(self, make):
        cloud, queries = make(1, 35), make(1, 1, seed=1)
        assert_same(kernels.knn(cloud.to(DEVICE), queries.to(DEVICE), 35), reference.knn(cloud, queries, 35))

    @pytest.mark.parametrize("make", [random_points, few_values])
    def test_several_tiles(self, make):
        """530 points are two tiles and a part of one: a later point as far as the worst so far stays out."""
        cloud, queries = make(1, 530), make(1, 2, seed=1)
        assert_same(kernels.knn(cloud.to(DEVICE), queries.to(DEVICE), 9), reference.knn(cloud, queries, 9))

    def test_equal_points_come_by_index(self):
        cloud = torch.full((1, 300, 3), 0.3, device=DEVICE)
        assert_same(kernels.knn(cloud, cloud[:, 280:281], 5), torch.tensor([[[0, 1, 2, 3, 4]]]))

    def test_many_neighbours(self):
        cloud = few_values(2, 600)
        assert_same(
            kernels.knn(cloud.to(DEVICE), cloud[:, :3].to(DEVICE), 600), reference.knn(cloud, cloud[:, :3], 600)
        )

    def test_no_query(self):
        assert kernels.knn(random_points(2, 9).to(DEVICE), torch.zeros(2, 0, 3, device=DEVICE), 4).shape == (2, 0, 4)

    def test_no_index_leaves_the_cloud_whatever_the_coordinates(self):
        cloud = random_points(1, 20)
        cloud[0, 3:9] = torch.tensor([float("nan"), float("inf"), -float("inf")])
        cloud.view(torch.int32)[0, 9] = 2**31 - 1  # not a number, as GPUs write it
        index = kernels.knn(cloud.to(DEVICE), cloud[:, 2:4].to(DEVICE), 20).cpu()
        assert (index.sort(dim=-1).values == torch.arange(20)).all()

    @pytest.mark.parametrize("operation", ["three_nn", "nearest"])
    def test_distances_and_their_gradients(self, operation):
        leaves, expected = to_leaves(random_points(2, 1, seed=1), random_points(2, 20))
        squared, index = getattr(kernels, operation)(*leaves)
        wanted, wanted_index = getattr(reference, operation)(*expected)
        assert_same(index, wanted_index)
        torch.testing.assert_close(squared.cpu(), wanted)
        weight = torch.rand_like(wanted)
        (squared * weight.to(DEVICE)).sum().backward()
        (wanted * weight).sum().backward()
        for leaf, other in zip(leaves, expected, strict=True):
            torch.testing.assert_close(leaf.grad.cpu(), other.grad)


class TestPatchify:
    @pytest.mark.parametrize(
        "shape, num_groups, group_size", [((2, 50), 2, 6), ((1, 4), 4, 4), ((2, 1), 1, 1), ((1, 520), 1, 516)]
    )
    def test_values_and_gradients(self, shape, num_groups, group_size, monkeypatch):
        points = few_values(*shape) + random_points(*shape) / 8
        [leaf], [other] = to_leaves(points)
        monkeypatch.setattr(dispatch, "_forced", "triton")
        *out, index = ops.patchify(leaf, num_groups, group_size)
        *wanted, wanted_index = reference.patchify(other, num_groups, group_size)
        assert_same(index, wanted_index)
        assert not index.requires_grad
        for x, y in zip(out, wanted, strict=True):
            assert torch.equal(x.detach().cpu(), y.detach())
        weights = [torch.rand_like(y) for y in wanted]
        sum((x * w.to(DEVICE)).sum() for x, w in zip(out, weights, strict=True)).backward()
        sum((y * w).sum() for y, w in zip(wanted, weights, strict=True)).backward()
        torch.testing.assert_close(leaf.grad.cpu(), other.grad)


@pytest.mark.parametrize("norm", [1, 2])
class TestChamfer:
    @pytest.mark.parametrize(
        "make, pairs, num_a, num_b",
        [
            (random_points, 3, 10, 14),
            (few_values, 3, 10, 14),
            (random_points, 2, 32, 32),
            (few_values, 1, 64, 3),
            (random_points, 1, 1, 1),
        ],
    )
    def test_value_and_gradients(self, norm, make, pairs, num_a, num_b):
        self.check(norm, make, pairs, num_a, num_b)

    def test_larger_clouds(self, norm, monkeypatch):
        monkeypatch.setattr(chamfer_reference, "SMALL_PAIR", 4)
        self.check(norm, few_values, 1, 3, 5)

    @staticmethod
    def check(norm, make, pairs, num_a, num_b):
        a, b = make(pairs, num_a), make(pairs, num_b, seed=1)
        leaves, others = to_leaves(a, b)
        distance = kernels.chamfer_distance(*leaves, norm)
        wanted = reference.chamfer_distance(*others, norm)
        torch.testing.assert_close(distance.cpu(), wanted, rtol=1e-5, atol=1e-7)
        (3 * distance).backward()
        (3 * wanted).backward()
        for leaf, other in zip(leaves, others, strict=True):
            torch.testing.assert_close(leaf.grad.cpu(), other.grad, rtol=1e-5, atol=1e-7)

    def test_coincident_points_have_gradient_zero(self, norm):
        a, b = (random_points(2, 20).to(DEVICE).requires_grad_() for _ in range(2))
        distance = kernels.chamfer_distance(a, b, norm)
        distance.backward()
        assert distance.item() == 0
        assert not a.grad.any() and not b.grad.any()

    @pytest.mark.parametrize("small", [64, 4])
    def test_what_is_not_finite_shows(self, norm, small, monkeypatch):
        monkeypatch.setattr(chamfer_reference, "SMALL_PAIR", small)
        a, b = random_points(1, 5), random_points(1, 4, seed=1)
        a[0, 2, 1] = float("nan")
        for pair in ((a, b), (b, a)):
            assert not kernels.chamfer_distance(*(x.to(DEVICE) for x in pair), norm).isfinite()

    def test_the_gradient_of_one_side_is_enough(self, norm):
        a, b = random_points(2, 20).to(DEVICE).requires_grad_(), random_points(2, 20, seed=1).to(DEVICE)
        other = a.detach().cpu().requires_grad_()
        kernels.chamfer_distance(a, b, norm).backward()
        reference.chamfer_distance(other, b.cpu(), norm).backward()
        torch.testing.assert_close(a.grad.cpu(), other.grad, rtol=1e-5, atol=1e-7)


def test_the_kernels_are_interpreted_where_there_is_no_gpu():
    assert kernels.is_available(DEVICE)
    assert isinstance(sampling.resident_kernel, triton.runtime.JITFunction) != IS_INTERPRETED


class TestPooling:
    @pytest.mark.parametrize("shape", [(3, 32, 40), (1, 1, 1), (5, 7, 600), (1, 256, 9)], ids=str)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
    def test_maximum_and_the_first_place_of_it(self, shape, dtype):
        x = few_values(*shape)[..., 0].to(dtype).contiguous()
        x[0, -1, 0] = float("nan")
        x[-1, :, -1] = -float("inf")
        values, index = kernels.pool_max(x.to(DEVICE))
        assert values.dtype == dtype and index.dtype == torch.uint8
        wanted, _ = reference.pool_max(x)
        torch.testing.assert_close(values.cpu(), wanted, rtol=0, atol=0, equal_nan=True)
        is_it = (x == wanted.unsqueeze(1)) | (x.isnan() & wanted.isnan().unsqueeze(1))
        assert torch.equal(index.cpu().long(), is_it.int().argmax(dim=1))

    def test_no_patch(self):
        assert kernels.pool_max(torch.empty(0, 3, 5, device=DEVICE))[0].shape == (0, 5)
