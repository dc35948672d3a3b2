"""What many runs come to: means with intervals, and paired comparisons of rows.

The unit of replication is the pretraining: its folds and fine-tunings are averaged first, since they share its weights.
Where there is one pretraining, folds are the units, and where there is one fold, seeds are. (Training sets overlap
between folds, as in every cross-validation, so intervals over folds are somewhat too narrow.)
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

LEVEL = 0.95
UNITS = ("pretraining", "fold", "seed")


class Record(NamedTuple):
    """One number of one run.

    Attributes:
        row: What is compared.
        metric: What is measured.
        pretraining: Number of the pretraining, None without one.
        fold: Of the data set, None without folds.
        seed: Of the run.
        value: The number.
        run: Name of the run.
        is_share: Whether it is a share of 0..1; the interval of a mean of such goes no further.
    """

    row: str
    metric: str
    pretraining: int | None
    fold: int | None
    seed: int
    value: float
    run: str = ""
    is_share: bool = False


@dataclass(frozen=True)
class Estimate:
    """A mean over units.

    Attributes:
        mean: Of the units' means.
        std: Their standard deviation (n - 1); None for one unit.
        num_units: How many there are.
        unit: What they are, one of `UNITS`.
        low: Lower end of the 95 % interval for the mean, by Student's t, of shares cut to 0..1; None for one unit.
        high: Its upper end.
        num_values: Numbers that it is made of.
    """

    mean: float
    std: float | None
    num_units: int
    unit: str
    low: float | None
    high: float | None
    num_values: int


@dataclass(frozen=True)
class Comparison:
    """One row against another, pair by pair: the same fold and seed.

    Attributes:
        metric: What is compared.
        row: The one row.
        against: The other one.
        gain: Mean difference, with its interval.
        wins: Pairs in which `row` is better.
        p: Two-sided, by a paired t-test over the units; None if there are too few.
        p_holm: The same, corrected by Holm for all comparisons of this metric.
    """

    metric: str
    row: str
    against: str
    gain: Estimate
    wins: int
    p: float | None
    p_holm: float | None = None


def estimate(records: Sequence[Record]) -> Estimate:
    """The mean of records of one row and metric, over the units that there are."""
    unit = unit_of(records)
    groups: dict[int | None, list[float]] = {}
    for record in records:
        groups.setdefault(getattr(record, unit), []).append(record.value)
    means = [statistics.mean(values) for values in groups.values()]
    found = _estimate(means, unit, len(records))
    if found.low is None or found.high is None or not all(item.is_share and 0 <= item.value <= 1 for item in records):
        return found
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def is_share(name: str) -> bool:
    """Whether a number of result.json is an accuracy or an IoU in 0..1, and no spread of one."""
    return ("accuracy" in name or "iou" in name) and not name.endswith(("_std", "_interval"))


def unit_of(records: Iterable[Record]) -> str:
    """The coarsest of `UNITS` of which there are several; the last one if there are none."""
    records = list(records)
    several = (unit for unit in UNITS if len({getattr(record, unit) for record in records} - {None}) > 1)
    return next(several, UNITS[-1])


def compare(records: Sequence[Record], pairs: Iterable[tuple[str, str]]) -> list[Comparison]:
    """Compares rows in every metric that they have in common, over the cells that both have.

    Args:
        records: All numbers.
        pairs: (row, against).
    """
    pairs, found = list(pairs), []
    for metric in dict.fromkeys(record.metric for record in records):
        table: dict[str, dict[tuple[int | None, int], Record]] = {}
        for record in records:
            if record.metric == metric:
                table.setdefault(record.row, {})[record.fold, record.seed] = record
        of_metric = [
            _compare_cells(metric, one, other, table[one], table[other])
            for one, other in pairs
            if set(table.get(one, ())) & set(table.get(other, ()))
        ]
        corrected = holm([item.p for item in of_metric])
        found += [
            Comparison(metric, item.row, item.against, item.gain, item.wins, item.p, p)
            for item, p in zip(of_metric, corrected, strict=True)
        ]
    return found


def _compare_cells(metric: str, one: str, other: str, a: dict[tuple, Record], b: dict[tuple, Record]) -> Comparison:
    cells = [cell for cell in a if cell in b]
    differences = [a[cell]._replace(value=a[cell].value - b[cell].value) for cell in cells]
    units = [unit_of([table[cell] for cell in cells]) for table in (a, b)]
    # If either row has one pretraining only, that of the other says nothing about the difference.
    unit = max(units, key=UNITS.index)
    groups: dict[int | None, list[float]] = {}
    for record in differences:
        groups.setdefault(getattr(record, unit), []).append(record.value)
    means = [statistics.mean(values) for values in groups.values()]
    gain = _estimate(means, unit, len(cells))
    return Comparison(metric, one, other, gain, sum(item.value > 0 for item in differences), paired_p(means))


def _estimate(means: Sequence[float], unit: str, num_values: int) -> Estimate:
    mean = statistics.mean(means)
    if len(means) < 2:
        return Estimate(mean, None, len(means), unit, None, None, num_values)
    from scipy.stats import t  # slow to import

    std = statistics.stdev(means)
    half = float(t.ppf((1 + LEVEL) / 2, len(means) - 1)) * std / len(means) ** 0.5
    return Estimate(mean, std, len(means), unit, mean - half, mean + half, num_values)


def paired_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of a t-test of differences against a mean of 0; None if it cannot be said."""
    from scipy.stats import ttest_1samp

    if len(differences) < 2 or len(set(differences)) == 1:
        return None
    return float(ttest_1samp(differences, 0.0).pvalue)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Corrects p values by Holm's method; None stays, and does not count."""
    order = sorted((p, place) for place, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        corrected[place] = highest
    return corrected


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` objects, by Wilson's score."""
    z = statistics.NormalDist().inv_cdf((1 + LEVEL) / 2)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return max(middle - half, 0.0), min(middle + half, 1.0)  # rounding goes a little beyond
