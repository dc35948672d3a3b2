"""Assignment against scipy, one problem at a time."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from pointrecon.extensions import ops, use_backend
from pointrecon.extensions.backends import library

SHAPES = [(13, 13), (13, 12), (3, 3), (3, 2), (10, 10), (4, 7), (7, 4), (1, 1), (1, 5), (5, 1)]
BACKENDS = ["reference", *(["compiled"] if library.is_available("cpu") else [])]


@pytest.fixture(params=BACKENDS)
def backend(request):
    use_backend(request.param)
    yield request.param
    use_backend(None)


def draw(count, rows, columns, seed=0, kind="normal"):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(count, rows, columns, generator=generator)
    if kind == "ties":
        scores = scores.round()
    elif kind == "cosines":
        vectors = torch.nn.functional.normalize(torch.randn(count, rows + columns, 16, generator=generator), dim=-1)
        scores = vectors[:, :rows] @ vectors[:, rows:].transpose(1, 2)
    return scores, torch.rand(count, columns, generator=generator) > 0.3


def check(scores, present, chosen=None):
    """Every row at most one column and each column once, as many as can be, and the sum is scipy's."""
    chosen = ops.assign(scores, present) if chosen is None else chosen
    for matrix, is_there, columns in zip(scores.double().numpy(), present.numpy(), chosen.numpy(), strict=True):
        rows = np.flatnonzero(columns >= 0)
        picked = columns[rows]
        there = np.flatnonzero(is_there)
        best = matrix[:, there]
        wanted = best[linear_sum_assignment(best, maximize=True)].sum()
        assert len(set(picked)) == len(rows) == min(len(matrix), len(there)) and is_there[picked].all()
        assert matrix[rows, picked].sum() == pytest.approx(wanted, abs=1e-9 * max(1, np.abs(matrix).max()))


@pytest.mark.parametrize("kind", ["normal", "ties", "cosines"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_sum_is_the_largest_there_is(backend, shape, kind):
    check(*draw(30 if backend == "reference" else 100, *shape, kind=kind))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_the_sum_is_the_largest_in_100_000_cases(seed):
    for number, shape in enumerate(SHAPES):
        check(*draw(1000, *shape, seed=100 * seed + number, kind=("normal", "ties", "cosines")[number % 3]))


def test_scores_of_any_size(backend):
    scores, present = draw(20, 6, 5)
    check(scores * 1e12, present)
    check(scores * 1e-12 + 1, present)
    check(scores.double(), present)


@pytest.mark.parametrize("shape", [(5, 5), (6, 4), (4, 6)])
@pytest.mark.parametrize("exponent", [-120, -80, 105, 120])
def test_the_assignment_does_not_depend_on_the_size_of_scores(backend, shape, exponent):
    scores, _ = draw(20, *shape)
    for present in (torch.arange(shape[1]).ne(1).expand(20, -1), None):
        wanted = ops.assign(scores, present)
        assert torch.equal(ops.assign(scores * 2.0**exponent, present), wanted)
        assert torch.equal(ops.assign(scores.double() * 2.0 ** (8 * exponent), present), wanted)


@pytest.mark.parametrize("size", [2.0**-100, 1.0, 2.0**120])
def test_infinite_scores_come_before_all_others_and_these_still_count(backend, size):
    scores, present = draw(30, 6, 5, seed=3)
    scores[:15, 1, 2] = torch.inf
    scores[:, 2:4, 1] = -torch.inf
    scores[10:, 5] = -torch.inf
    # What stands for them here is far beyond the sum of the rest, and small enough to lose no digit of it.
    check(scores.clamp(-1e4, 1e4), present, ops.assign(scores * size, present))


def test_without_a_mask_all_columns_are_there(backend):
    scores, _ = draw(5, 4, 6)
    assert torch.equal(ops.assign(scores), ops.assign(scores, torch.ones(5, 6, dtype=torch.bool)))


@pytest.mark.parametrize("shape", [(2, 3, 0), (2, 0, 3), (0, 3, 3)])
def test_nothing_to_pair(backend, shape):
    assert ops.assign(torch.zeros(shape)).eq(-1).all()


def test_no_column_present_pairs_nothing(backend):
    assert ops.assign(torch.randn(2, 3, 4), torch.zeros(2, 4, dtype=torch.bool)).tolist() == [[-1] * 3] * 2


def test_what_is_no_number_ends_in_some_assignment(backend):
    scores = torch.randn(4, 5, 5)
    scores[0, 0, 0], scores[1, :, 2], scores[2, 1], scores[3] = torch.nan, torch.inf, -torch.inf, torch.nan
    assert ops.assign(scores).sort(dim=1).values.tolist() == [[0, 1, 2, 3, 4]] * 4


def test_half_precision_and_strides(backend):
    scores, present = draw(6, 5, 4)
    half = scores.to(torch.bfloat16)
    assert torch.equal(ops.assign(half, present), ops.assign(half.float(), present))
    flipped = scores.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(ops.assign(flipped, present), ops.assign(scores, present))


@pytest.mark.parametrize(
    ("scores", "present"),
    [(torch.zeros(3, 3), None), (torch.zeros(1, 3, 3, dtype=torch.int64), None)]
    + [(torch.zeros(1, 3, 2), torch.ones(shape, dtype=kind)) for shape, kind in (((1, 3), torch.bool), ((1, 2), None))],
)
def test_wrong_arguments_are_refused(scores, present):
    with pytest.raises(ValueError, match="assign takes"):
        ops.assign(scores, present)
