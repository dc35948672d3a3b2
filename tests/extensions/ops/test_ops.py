"""Point operations against twins in NumPy that do one thing after the other."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from pointrecon.extensions import dispatch, ops


@pytest.fixture(params=["compiled", "reference"], scope="module", autouse=True)
def backend(request):
    """Everything here holds for each backend of the CPU."""
    if reason := dispatch.why_unavailable(request.param, "cpu"):
        pytest.skip(f"{request.param}: {reason}")
    dispatch.use_backend(request.param)
    yield request.param
    dispatch.use_backend(None)


def naive_squared(a, b):
    """Squared distance of two points, in the precision given and in the order x, y, z."""
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2


def naive_fps(points, num_samples):
    picked = []
    for sample in points.numpy():
        chosen = [0]
        while len(chosen) < num_samples:
            nearest = [min(naive_squared(point, sample[i]) for i in chosen) for point in sample]
            chosen.append(nearest.index(max(nearest)))
        picked.append(chosen)
    return np.array(picked)


def naive_knn(points, queries, k):
    index = []
    for sample, asked in zip(points.numpy(), queries.numpy(), strict=True):
        order = [sorted(range(len(sample)), key=lambda i: (naive_squared(query, sample[i]), i)) for query in asked]
        index.append([row[:k] for row in order])
    return np.array(index)


def naive_chamfer(a, b, norm):
    """Every distance, and autograd through the minimum."""
    squared = (a.unsqueeze(2) - b.unsqueeze(1)).square().sum(-1)
    from_a, from_b = squared.min(dim=2).values, squared.min(dim=1).values
    if norm == 2:
        return from_a.mean() + from_b.mean()
    return (from_a.sqrt().mean() + from_b.sqrt().mean()) / 2


def random_points(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def integer_points(draw_rows):
    return torch.tensor(draw_rows, dtype=torch.float32).unsqueeze(0)


# Few small integers: many ties, many duplicates, exact arithmetic.
ROWS = st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=1, max_size=24)
quick = settings(max_examples=25, deadline=None, derandomize=True)


class TestFps:
    def test_is_the_naive_one(self, cloud):
        num_samples = min(cloud.shape[1], 20)
        picked = ops.fps(cloud, num_samples)
        assert picked.dtype == torch.int64
        np.testing.assert_array_equal(picked, naive_fps(cloud, num_samples))

    @quick
    @given(ROWS, st.data())
    def test_starts_at_0_and_a_shorter_draw_is_a_prefix(self, rows, data):
        cloud = integer_points(rows)
        count = data.draw(st.integers(1, len(rows)))
        whole = ops.fps(cloud, len(rows))
        assert whole[0, 0] == 0
        assert torch.equal(ops.fps(cloud, count), whole[:, :count])
        num_different = len(set(rows))  # a duplicate is picked only when nothing else is left
        assert len({rows[i] for i in whole[0, :num_different].tolist()}) == num_different


class TestKnn:
    @pytest.mark.parametrize("k", [1, 3, 16, "all"])
    def test_is_the_naive_one(self, cloud, k):
        k = cloud.shape[1] if k == "all" else min(k, cloud.shape[1])
        queries = cloud[:, ::3]
        index = ops.knn(cloud, queries, k)
        assert index.dtype == torch.int64
        np.testing.assert_array_equal(index, naive_knn(cloud, queries, k))

    def test_a_tie_across_the_last_place_goes_to_the_lowest_index(self):
        # Six points at distance 1 and one nearer; only some of the six can be among the three.
        axes = [[0, 0, 1], [0, 0, -1], [0, 1, 0], [0.5, 0, 0], [0, -1, 0], [1, 0, 0], [-1, 0, 0]]
        index = ops.knn(torch.tensor([axes]), torch.zeros(1, 1, 3), 3)
        assert index.tolist() == [[[3, 0, 1]]]

    def test_neighbours_are_exact_far_from_the_origin(self):
        # |a|^2 - 2ab + |b|^2 is off by about 0.1 here, which is more than the distance between neighbours.
        cloud = random_points(1, 400, 3) / 10 + 1000
        exact = (cloud.double().unsqueeze(2) - cloud.double().unsqueeze(1)).square().sum(-1)
        chosen = exact.gather(-1, ops.knn(cloud, cloud, 8))
        np.testing.assert_allclose(chosen, exact.sort(dim=-1).values[..., :8], rtol=1e-5)

    def test_no_query_gives_no_neighbour(self):
        assert ops.knn(random_points(2, 9, 3), torch.zeros(2, 0, 3), 4).shape == (2, 0, 4)

    @quick
    @given(ROWS, ROWS, st.data())
    def test_ties_by_index_whatever_the_points(self, rows, asked, data):
        cloud, queries = integer_points(rows), integer_points(asked)
        k = data.draw(st.integers(1, len(rows)))
        np.testing.assert_array_equal(ops.knn(cloud, queries, k), naive_knn(cloud, queries, k))


class TestPatchify:
    @pytest.mark.parametrize("needs_grad", [False, True])
    def test_is_the_operations_one_after_the_other(self, cloud, needs_grad):
        num_points = cloud.shape[1]
        num_groups, group_size = min(num_points, 7), min(num_points, 6)
        centers, patches, index = ops.patchify(cloud.requires_grad_(needs_grad), num_groups, group_size)
        cloud = cloud.detach()
        picked = naive_fps(cloud, num_groups)
        np.testing.assert_array_equal(
            index, naive_knn(cloud, cloud[torch.arange(len(cloud)).unsqueeze(1), picked], group_size)
        )
        for b in range(len(cloud)):
            np.testing.assert_array_equal(centers[b].detach(), cloud[b][picked[b]])
            np.testing.assert_array_equal(patches[b].detach(), cloud[b][index[b]] - cloud[b][picked[b]].unsqueeze(1))

    def test_the_gradient_goes_to_the_picked_points(self):
        points = random_points(1, 6, 3, dtype=torch.float64).requires_grad_()
        assert gradcheck(lambda x: ops.patchify(x, 3, 4)[:2], points)

    def test_no_graph_without_a_gradient(self):
        points = random_points(1, 6, 3).requires_grad_()
        with torch.no_grad():
            assert not any(result.requires_grad for result in ops.patchify(points, 3, 4))
        centers, patches, index = ops.patchify(points, 3, 4)
        assert centers.requires_grad and patches.requires_grad and not index.requires_grad


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_is_widened(self, dtype):
        cloud = random_points(2, 20, 3).to(dtype)
        wide = cloud.float()
        assert torch.equal(ops.fps(cloud, 6), ops.fps(wide, 6))
        squared, index = ops.three_nn(cloud, cloud)
        assert squared.dtype == torch.float32 and torch.equal(index, ops.three_nn(wide, wide)[1])
        assert ops.patchify(cloud, 3, 4)[1].dtype == torch.float32
        assert torch.equal(ops.chamfer_distance(cloud, wide.flip(0)), ops.chamfer_distance(wide, wide.flip(0)))

    def test_autocast_changes_nothing(self):
        cloud, other = random_points(2, 20, 3), random_points(2, 9, 3, seed=1)
        wanted = ops.chamfer_distance(cloud, other), ops.three_nn(cloud, other)[0], ops.patchify(cloud, 3, 4)[1]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            actual = ops.chamfer_distance(cloud, other), ops.three_nn(cloud, other)[0], ops.patchify(cloud, 3, 4)[1]
        for one, two in zip(actual, wanted, strict=True):
            assert one.dtype == torch.float32 and torch.equal(one, two)

    def test_strides_do_not_matter(self):
        cloud = random_points(2, 40, 3)
        view = cloud.transpose(1, 2).contiguous().transpose(1, 2)
        assert not view.is_contiguous()
        assert torch.equal(ops.fps(view, 9), ops.fps(cloud, 9))
        assert torch.equal(ops.knn(view, view[:, ::3], 5), ops.knn(cloud, cloud[:, ::3].contiguous(), 5))
        assert torch.equal(ops.patchify(view, 4, 5)[1], ops.patchify(cloud, 4, 5)[1])
        assert torch.equal(ops.three_nn(view[:, ::3], view)[0], ops.three_nn(cloud[:, ::3].contiguous(), cloud)[0])
        assert ops.chamfer_distance(view, view.flip(0)) == ops.chamfer_distance(cloud, cloud.flip(0))


class TestPicking:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
    def test_gather_and_group_pick_rows(self, dtype):
        features = (10 * random_points(2, 7, 5)).to(dtype)
        index = torch.tensor([[3, 0, 3, 6], [1, 1, 5, 2]])
        picked = ops.gather(features, index)
        assert picked.dtype == dtype
        for b in range(2):
            np.testing.assert_array_equal(picked[b], features.numpy()[b][index[b]])
        grouped = ops.group(features, index.view(2, 2, 2))
        assert grouped.shape == (2, 2, 2, 5)
        assert torch.equal(grouped.flatten(1, 2), picked)

    def test_gradients(self):
        features = random_points(2, 6, 3, dtype=torch.float64).requires_grad_()
        index = torch.tensor([[[0, 0, 2], [5, 1, 0]], [[4, 3, 3], [3, 2, 1]]])  # repeated rows add up
        assert gradcheck(lambda x: ops.gather(x, index[:, 0]), features)
        assert gradcheck(lambda x: ops.group(x, index), features)


class TestThreeNeighbours:
    def test_distances_and_indices_are_the_naive_ones(self):
        points, queries = random_points(2, 20, 3), random_points(2, 11, 3, seed=1)
        squared, index = ops.three_nn(queries, points)
        np.testing.assert_array_equal(index, naive_knn(points, queries, 3))
        for b, q, j in np.ndindex(*index.shape):
            wanted = naive_squared(queries[b, q].numpy(), points[b, index[b, q, j]].numpy())
            assert squared[b, q, j].item() == pytest.approx(wanted, rel=1e-5)

    def test_three_points_are_enough_and_come_in_order(self):
        _, index = ops.three_nn(torch.zeros(1, 1, 3), torch.tensor([[[3.0, 0, 0], [1, 0, 0], [2, 0, 0]]]))
        assert index.tolist() == [[[1, 2, 0]]]

    def test_interpolation_is_the_weighted_mean(self):
        features, weight = random_points(2, 6, 4), torch.rand(2, 5, 3)
        index = torch.randint(6, (2, 5, 3), generator=torch.Generator().manual_seed(0))
        out = ops.three_interpolate(features, index, weight)
        for b, q in np.ndindex(2, 5):
            wanted = sum(weight[b, q, j] * features[b, index[b, q, j]] for j in range(3))
            np.testing.assert_allclose(out[b, q], wanted, rtol=1e-5, atol=1e-6)

    def test_gradients(self):
        points = random_points(1, 8, 3, dtype=torch.float64).requires_grad_()
        queries = random_points(1, 3, 3, seed=1, dtype=torch.float64).requires_grad_()
        assert gradcheck(lambda q, p: ops.three_nn(q, p)[0], (queries, points))
        index = torch.tensor([[[0, 1, 1], [7, 2, 3]]])
        weight = random_points(1, 2, 3, seed=2, dtype=torch.float64).requires_grad_()
        assert gradcheck(lambda f, w: ops.three_interpolate(f, index, w), (points, weight))


@pytest.mark.parametrize("norm", [1, 2])
class TestChamfer:
    def test_value_and_gradient_are_the_naive_ones(self, norm):
        a = random_points(3, 10, 3).requires_grad_()
        b = random_points(3, 14, 3, seed=1).requires_grad_()
        ours, naive = ops.chamfer_distance(a, b, norm), naive_chamfer(a, b, norm)
        np.testing.assert_allclose(ours.item(), naive.item(), rtol=1e-6)
        for actual, wanted in zip(torch.autograd.grad(ours, (a, b)), torch.autograd.grad(naive, (a, b)), strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-7)

    def test_gradcheck(self, norm):
        a = random_points(2, 5, 3, dtype=torch.float64).requires_grad_()
        b = random_points(2, 4, 3, seed=1, dtype=torch.float64).requires_grad_()
        assert gradcheck(lambda x, y: ops.chamfer_distance(x, y, norm), (a, b))

    def test_published_definition_on_a_pair_done_by_hand(self, norm):
        a, b = torch.tensor([[[0.0, 0, 0], [3, 0, 0]]]), torch.tensor([[[0.0, 0, 0], [1, 0, 0], [3, 4, 0]]])
        # To the nearest in b: 0 and 4, squared; to the nearest in a: 0, 1 and 16.
        wanted = 4 / 2 + 17 / 3 if norm == 2 else (2 / 2 + 5 / 3) / 2
        assert ops.chamfer_distance(a, b, norm).item() == pytest.approx(wanted)

    def test_coincident_points_have_gradient_zero(self, norm, cloud):
        a, b = cloud.clone().requires_grad_(), cloud.clone().requires_grad_()
        distance = ops.chamfer_distance(a, b, norm)
        distance.backward()
        assert distance.item() == 0
        assert not a.grad.any() and not b.grad.any()

    @quick
    @given(rows=ROWS, others=ROWS, shift=st.integers(-50, 50))
    def test_symmetry_and_translation(self, norm, rows, others, shift):
        a, b = integer_points(rows), integer_points(others)
        distance = ops.chamfer_distance(a, b, norm).item()
        assert ops.chamfer_distance(b, a, norm).item() == pytest.approx(distance)
        assert ops.chamfer_distance(a + shift, b + shift, norm).item() == pytest.approx(distance)
        assert (distance == 0) == (set(rows) == set(others))


CLOUD, PLANE = torch.zeros(2, 5, 3), torch.zeros(5, 3)
INDEX, TRIPLES = torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4, 3, dtype=torch.int64)


def with_value(cloud, point, value):
    points = CLOUD.clone()
    points[cloud, point, 1] = value
    return points


MISTAKES = {
    "fps of one cloud without a batch": (
        lambda: ops.fps(PLANE, 2),
        r"points must have shape \(B, N, 3\), got \(5, 3\)",
    ),
    "fps of points in the plane": (lambda: ops.fps(CLOUD[..., :2], 2), r"got \(2, 5, 2\)"),
    "fps of integers": (lambda: ops.fps(CLOUD.long(), 2), "floating point, got torch.int64"),
    "fps of no sample": (lambda: ops.fps(CLOUD, 0), r"num_samples is 0.*1\.\.5"),
    "fps of more samples than points": (lambda: ops.fps(CLOUD, 6), r"num_samples is 6.*1\.\.5"),
    "fps of no cloud": (lambda: ops.fps(CLOUD[:0], 2), r"points holds no cloud, its shape is \(0, 5, 3\)"),
    "fps of no tensor": (lambda: ops.fps([[0.0, 0, 0]], 1), "points must be a tensor.*got list"),
    "fps of NaN": (
        lambda: ops.fps(with_value(1, 3, float("nan")), 2),
        r"points \(2, 5, 3\) must be finite, but point 3 of cloud 1 is \[0.0, nan",
    ),
    "knn of an infinite query": (
        lambda: ops.knn(CLOUD, with_value(0, 2, float("inf")), 2),
        "queries .* must be finite",
    ),
    "knn of an infinite point": (
        lambda: ops.knn(with_value(0, 2, -float("inf")), CLOUD, 2),
        "points .* must be finite",
    ),
    "three_nn of NaN": (lambda: ops.three_nn(with_value(0, 2, float("nan")), CLOUD), "queries .* must be finite"),
    "patchify of NaN": (lambda: ops.patchify(with_value(0, 2, float("nan")), 2, 2), "points .* must be finite"),
    "patchify of more groups than points": (lambda: ops.patchify(CLOUD, 6, 2), r"num_groups is 6.*\(2, 5, 3\)"),
    "patchify of more points than there are": (lambda: ops.patchify(CLOUD, 2, 6), "group_size is 6"),
    "chamfer of NaN": (lambda: ops.chamfer_distance(CLOUD, with_value(0, 0, float("nan"))), "b .* must be finite"),
    "knn of more neighbours than points": (lambda: ops.knn(CLOUD, CLOUD, 6), "k is 6.*5 points"),
    "knn of no neighbour": (lambda: ops.knn(CLOUD, CLOUD, 0), "k is 0"),
    "knn across batch sizes": (lambda: ops.knn(CLOUD, CLOUD[:1], 2), "batch sizes differ: 2 and 1"),
    "knn with misshapen queries": (lambda: ops.knn(CLOUD, PLANE, 2), "queries must have shape"),
    "knn across devices": (lambda: ops.knn(CLOUD, CLOUD.to("meta"), 2), "devices differ: cpu and meta"),
    "gather with an index of neighbourhoods": (lambda: ops.gather(CLOUD, TRIPLES), "gather: needs"),
    "gather across batch sizes": (lambda: ops.gather(CLOUD, INDEX[:1]), "gather: needs"),
    "group with an index of points": (lambda: ops.group(CLOUD, INDEX), "group: needs"),
    "group across batch sizes": (lambda: ops.group(CLOUD, TRIPLES[:1]), "group: needs"),
    "three_nn of two points": (lambda: ops.three_nn(CLOUD, CLOUD[:, :2]), "at least 3 points, got 2"),
    "interpolation of two": (
        lambda: ops.three_interpolate(CLOUD, TRIPLES[..., :2], torch.ones(2, 4, 2)),
        "three_interpolate: needs",
    ),
    "interpolation with other weights": (
        lambda: ops.three_interpolate(CLOUD, TRIPLES, torch.ones(2, 3, 3)),
        "three_interpolate: needs",
    ),
    "interpolation across batch sizes": (
        lambda: ops.three_interpolate(CLOUD, TRIPLES[:1], torch.ones(1, 4, 3)),
        "three_interpolate: needs",
    ),
    "chamfer of a third norm": (lambda: ops.chamfer_distance(CLOUD, CLOUD, 3), "norm is 3; it must be 1 or 2"),
    "chamfer to nothing": (lambda: ops.chamfer_distance(CLOUD, CLOUD[:, :0]), "a cloud is empty"),
    "chamfer across batch sizes": (lambda: ops.chamfer_distance(CLOUD, CLOUD[:1]), "batch sizes differ"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refused(mistake):
    call, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        call()


def test_coordinates_whose_sum_overflows_are_finite():
    cloud = torch.full((1, 4, 3), 3e38)
    assert ops.fps(cloud, 2).tolist() == [[0, 0]]


@pytest.mark.parametrize("norm", [1, 2])
def test_a_diverged_network_has_a_loss_that_is_not_finite(norm):
    rebuilt = with_value(0, 0, float("nan")).requires_grad_()
    assert not ops.chamfer_distance(rebuilt, CLOUD, norm).isfinite()
