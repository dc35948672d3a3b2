"""The drop-in for knn_cuda against distances in double precision; test_wheel.py runs this."""

import statistics
import time

import pytest
import torch
from knn_cuda import KNN, knn, wide
from recon_point_ops import dispatch
from recon_point_ops.knn import reference


@pytest.fixture(params=["compiled", "reference"], autouse=True)
def backend(request):
    if reason := dispatch.why_unavailable(request.param, "cpu"):
        pytest.skip(reason)
    dispatch.use_backend(request.param)
    yield request.param
    dispatch.use_backend(None)


def random_points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive(ref, query, k):
    """(B, N, C), (B, Q, C) -> (B, Q, K) distances and indices, every pair in double precision."""
    distance = (query.double().unsqueeze(2) - ref.double().unsqueeze(1)).square().sum(-1).sqrt()
    values, index = distance.sort(dim=-1, stable=True)
    return values[..., :k].float(), index[..., :k]


@pytest.mark.parametrize("width", [1, 3, 16, 100])
def test_rows_and_columns_give_the_definition(width):
    ref, query = random_points(2, 25, width), random_points(2, 6, width, seed=1)
    wanted_distance, wanted_index = naive(ref, query, 5)
    distance, index = KNN(5, transpose_mode=True)(ref, query)
    assert index.dtype == torch.int64 and torch.equal(index, wanted_index)
    torch.testing.assert_close(distance, wanted_distance)
    columns = KNN(k=5)(ref.mT, query.mT)
    assert torch.equal(columns[0], distance.mT) and torch.equal(columns[1], index.mT)
    assert columns[0].is_contiguous() and columns[1].is_contiguous()
    single = knn(ref[0].T, query[0].T, 5)
    assert torch.equal(single[0], columns[0][0]) and torch.equal(single[1], columns[1][0])


@pytest.mark.parametrize("width", [2, 3])
def test_ties_go_to_the_lowest_index_and_slabs_change_nothing(monkeypatch, width):
    ref = torch.randint(0, 3, (2, 40, width), generator=torch.Generator().manual_seed(0)).float()
    distance, index = KNN(11, transpose_mode=True)(ref, ref)
    assert torch.equal(index, naive(ref, ref, 11)[1])
    monkeypatch.setattr(reference, "MAX_SLAB_ELEMENTS", 250)
    again = KNN(11, transpose_mode=True)(ref, ref)
    assert torch.equal(again[0], distance) and torch.equal(again[1], index)


@pytest.mark.parametrize("width", [9, 24, 128])
@pytest.mark.parametrize("offset", [0, 1000])
def test_neighbors_of_wide_points_are_exact(width, offset):
    """A matrix product alone misplaces some of them, the more the farther the points are from the origin."""
    ref, query = random_points(2, 300, width) + offset, random_points(2, 50, width, seed=1) + offset
    distance, index = KNN(10, transpose_mode=True)(ref, query)
    wanted_distance, wanted_index = naive(ref, query, 10)
    torch.testing.assert_close(distance, wanted_distance, rtol=1e-5, atol=1e-5)
    assert (index == wanted_index).float().mean() > 0.999  # two may be as far but for rounding
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(KNN(10, transpose_mode=True)(ref, query)[1], index)


def test_ties_of_wide_points_go_to_the_lowest_index():
    ref = torch.randint(0, 2, (2, 400, 12), generator=torch.Generator().manual_seed(0)).float()
    ref[:, 200:] = ref[:, :200].clone()
    distance, index = KNN(20, transpose_mode=True)(ref, ref[:, ::7])
    wanted_distance, wanted_index = naive(ref, ref[:, ::7], 20)
    assert torch.equal(index, wanted_index)
    torch.testing.assert_close(distance, wanted_distance)


def test_a_product_of_fewer_digits_is_not_taken():
    ref = random_points(1, 300, 24)
    torch.set_float32_matmul_precision("medium")
    try:
        assert not wide._has_exact_products(ref)
        assert torch.equal(KNN(5, True)(ref, ref)[1], naive(ref, ref, 5)[1])
    finally:
        torch.set_float32_matmul_precision("highest")
    assert wide._has_exact_products(ref)


@pytest.mark.parametrize("width", [3, 7, 20])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_clouds_of_integers(width, dtype):
    ref = torch.randint(0, 9, (2, 90, width), generator=torch.Generator().manual_seed(0)).to(dtype)
    distance, index = KNN(5, transpose_mode=True)(ref, ref)
    assert torch.equal(index, naive(ref, ref, 5)[1]) and distance.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize(("width", "num_points"), [(2, 1024), (16, 1024), (64, 1024)])
def test_time_is_that_of_distances_and_a_selection(width, num_points, backend):
    if backend != "compiled":
        pytest.skip("that is the definition")
    ref, query = random_points(4, num_points, width), random_points(4, 256, width, seed=1)
    ours, theirs = [], []
    for _ in range(9):
        for times, call in (
            (ours, lambda: KNN(20, transpose_mode=True)(ref, query)),
            (theirs, lambda: torch.cdist(query, ref).topk(20, largest=False)),
        ):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    assert statistics.median(ours) < 1.5 * statistics.median(theirs)


def test_other_types_are_cast_and_there_is_no_gradient():
    ref = random_points(1, 9, 3).double().requires_grad_()
    distance, index = KNN(2, transpose_mode=True)(ref, ref)
    assert distance.dtype == torch.float32 and not distance.requires_grad
    assert torch.equal(index[0, :, 0], torch.arange(9)) and not distance[..., 0].any()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: KNN(4)(torch.zeros(2, 3, 5), torch.zeros(1, 3, 5)), r"query must .*B = 2 and C = 3, got \(1, 3, 5\)"),
        (lambda: KNN(6)(torch.zeros(2, 3, 5), torch.zeros(2, 3, 5)), "k is 6, but ref has 5 points"),
        (lambda: KNN(0, True)(torch.zeros(2, 5, 3), torch.zeros(2, 5, 3)), "k is 0"),
        (lambda: KNN(2, True)(torch.zeros(2, 5, 3), torch.zeros(2, 5, 4)), r"query must .*C = 3, got \(2, 5, 4\)"),
        (lambda: knn(torch.zeros(1, 3, 5), torch.zeros(3, 5), 1), r"ref must have shape \(C, N\), got \(1, 3, 5\)"),
    ],
)
def test_mistakes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
