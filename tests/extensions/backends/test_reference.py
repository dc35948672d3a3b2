"""What only the plain torch definitions have: slabs of bounded memory, and ties where argmax has no order."""

import pytest
import torch

from pointrecon.extensions.backends import reference
from pointrecon.extensions.fps.reference import _first_maximum
from pointrecon.extensions.knn import reference as knn


def random_points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_tie_goes_to_the_lowest_index_off_the_cpu_too():
    values = torch.tensor([[1.0, 3.0, 2.0, 3.0], [5.0, 5.0, 5.0, 5.0], [0.0, 0.0, 1.0, 0.0]])
    assert _first_maximum(values).tolist() == [1, 0, 2]


def test_small_slabs_give_the_same_neighbours(monkeypatch):
    cloud, queries = random_points(2, 50, 3), random_points(2, 23, 3, seed=1)
    whole, plain, shapes = reference.knn(cloud, queries, 7), knn.squared_distances, []
    monkeypatch.setattr(knn, "MAX_SLAB_ELEMENTS", 400)
    monkeypatch.setattr(knn, "squared_distances", lambda q, p: shapes.append(q.shape[1]) or plain(q, p))
    assert torch.equal(reference.knn(cloud, queries, 7), whole)
    assert shapes == [4] * 5 + [3]  # 400 elements are 4 queries of two clouds of 50 points


@pytest.mark.parametrize("norm", [1, 2])
def test_small_slabs_give_the_same_chamfer_distance(norm, monkeypatch):
    a, b, shapes = random_points(7, 5, 3), random_points(7, 6, 3, seed=1), []
    whole, plain = reference.chamfer_distance(a, b, norm), reference.squared_distances
    monkeypatch.setattr(knn, "MAX_SLAB_ELEMENTS", 70)
    monkeypatch.setattr(knn, "squared_distances", lambda x, y: shapes.append(len(x)) or plain(x, y))
    assert reference.chamfer_distance(a, b, norm) == whole
    assert shapes == [2, 2, 2, 1] * 2
