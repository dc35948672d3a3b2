"""Controls: which features they are, and that they know nothing."""

import torch

from pointrecon.datasets.teacher_cache.control import other_rows, random_vectors


def test_no_shape_keeps_its_own():
    rows = other_rows(50, seed=3)
    assert sorted(rows.tolist()) == list(range(50)) and not (rows == torch.arange(50)).any()
    assert torch.equal(rows, other_rows(50, seed=3)) and not torch.equal(rows, other_rows(50, seed=4))
    assert other_rows(1, seed=0).tolist() == [0]


def test_random_vectors_have_the_lengths_and_one_direction_a_shape():
    lengths = torch.rand(200, 3) + 0.5
    lengths[0, 1] = 0
    found = random_vectors(lengths, 64, seed=1)
    torch.testing.assert_close(found.norm(dim=-1), lengths)
    unit = found[1:] / found[1:].norm(dim=-1, keepdim=True)
    torch.testing.assert_close(unit[:, 0], unit[:, 2])
    alike = unit[:, 0] @ unit[:, 0].T
    assert alike.fill_diagonal_(0).abs().max() < 0.7 and alike.mean().abs() < 0.02
    assert torch.equal(found, random_vectors(lengths, 64, seed=1))
    assert not torch.equal(found, random_vectors(lengths, 64, seed=2))
