"""The drop-in for knn_cuda against distances in double precision."""

import pytest
import torch
from extensions.knn_cuda import KNN, knn

from extensions import reference


def random_points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive(ref, query, k):
    """(B, N, C), (B, Q, C) -> (B, Q, K) distances and indices, every pair in double precision."""
    distance = (query.double().unsqueeze(2) - ref.double().unsqueeze(1)).square().sum(-1).sqrt()
    values, index = distance.sort(dim=-1, stable=True)
    return values[..., :k].float(), index[..., :k]


@pytest.mark.parametrize("width", [1, 3, 16])
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
