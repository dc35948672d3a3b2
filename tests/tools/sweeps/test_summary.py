"""Means, intervals and paired tests against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from pointrecon.tools.sweeps.summary import Record, compare, estimate, holm, paired_p, unit_of, wilson


def records(row, values, metric="m", pretrainings=None):
    """values: (pretrainings, folds)."""
    return [
        Record(row, metric, None if pretrainings is None else number, fold, 1000 * number, float(value))
        for number, line in enumerate(values)
        for fold, value in enumerate(line)
    ]


@pytest.fixture
def values():
    return np.random.RandomState(0).rand(2, 4, 5)


def test_pretrainings_are_the_unit(values):
    found = estimate(records("a", values[0], pretrainings=True))
    means = values[0].mean(1)
    low, high = stats.t.interval(0.95, 3, means.mean(), stats.sem(means))
    assert (found.unit, found.num_units, found.num_values) == ("pretraining", 4, 20)
    assert found.mean == pytest.approx(values[0].mean()) and found.std == pytest.approx(means.std(ddof=1))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_folds_are_the_unit_of_one_pretraining(values):
    found = estimate(records("a", values[0]))
    assert (found.unit, found.num_units) == ("fold", 5)
    assert found.std == pytest.approx(values[0].mean(0).std(ddof=1))
    single = estimate(records("a", values[0][:1, :1]))
    assert (single.num_units, single.std, single.low) == (1, None, None)
    assert unit_of(records("a", values[0][:, :1])) == "seed"


def test_rows_are_compared_pair_by_pair(values):
    everything = records("a", values[0], pretrainings=True) + records("b", values[1], pretrainings=True)
    (found,) = compare(everything, [("a", "b")])
    one, other = values[0].mean(1), values[1].mean(1)
    assert found.p == pytest.approx(stats.ttest_rel(one, other).pvalue) == pytest.approx(found.p_holm)
    assert found.gain.mean == pytest.approx((one - other).mean()) and found.gain.num_units == 4
    assert found.wins == (values[0] > values[1]).sum() and found.gain.num_values == 20
    interval = stats.ttest_rel(one, other).confidence_interval(0.95)
    assert (found.gain.low, found.gain.high) == pytest.approx((interval.low, interval.high))


def test_one_pretraining_against_many_is_tested_over_folds(values):
    everything = records("a", values[0], pretrainings=True) + records("b", values[1])
    (found,) = compare(everything, [("a", "b")])
    assert (found.gain.unit, found.gain.num_units) == ("fold", 5)
    assert found.p == pytest.approx(stats.ttest_rel(values[0].mean(0), values[1].mean(0)).pvalue)


def test_intervals_of_shares_end_at_0_and_1_but_not_those_of_differences():
    low, high = (
        [Record(row, "m", None, fold, 0, value, "", True) for fold, value in enumerate(values)]
        for row, values in (("low", (0.0, 0.3)), ("high", (1.0, 0.7)))
    )
    assert estimate(low).low == 0.0 and estimate(high).high == 1.0
    assert estimate([item._replace(is_share=False) for item in low]).low < 0
    assert estimate([item._replace(value=100 * item.value) for item in high]).high > 100, "percent are none"
    (found,) = compare(low + high, [("low", "high")])
    assert found.gain.low < -1


def test_only_cells_of_both_are_compared(values):
    everything = records("a", values[0]) + records("b", values[1])[:7] + records("c", values[1], metric="other")
    (found,) = compare(everything, [("a", "b"), ("a", "c")])
    assert found.gain.num_values == 7 and found.against == "b"
    kept = (values[0] - values[1]).ravel()[:7]
    assert found.gain.mean == pytest.approx(np.mean([kept[[0, 5]].mean(), kept[[1, 6]].mean(), *kept[2:5]]))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, None, 0.005]) == pytest.approx([0.03, 0.06, 0.06, None, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_the_family_is_the_comparisons_of_a_metric(values):
    everything = [*records("a", values[0]), *records("b", values[1]), *records("c", values[1] ** 2)]
    everything += records("a", values[0], metric="n") + records("b", values[1], metric="n")
    found = compare(everything, [("a", "b"), ("a", "c")])
    of_m, of_n = found[:2], found[2:]
    assert [item.p_holm for item in of_m] == pytest.approx(holm([item.p for item in of_m]))
    assert len(of_n) == 1 and of_n[0].p_holm == of_n[0].p


def test_a_single_unit_has_no_p():
    assert paired_p([0.1]) is None and paired_p([0.1, 0.1]) is None


@pytest.mark.parametrize(("share", "count"), [(0.0, 109), (0.5, 20), (0.817, 109), (1.0, 3)])
def test_the_interval_over_objects(share, count):
    wanted = stats.binomtest(round(share * count), count).proportion_ci(0.95, method="wilson")
    assert wilson(round(share * count) / count, count) == pytest.approx((wanted.low, wanted.high), abs=1e-9)
