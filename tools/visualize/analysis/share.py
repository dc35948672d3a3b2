"""Accuracy against a setting of pretraining, such as the share of the data, from a table of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pointrecon.tools.sweeps.read_table import read_table
from pointrecon.tools.sweeps.summary import Estimate, Record, estimate
from pointrecon.tools.sweeps.table import collect, expand
from pointrecon.tools.visualize.analysis.panels import Line, Panel, draw
from pointrecon.utils.config import flatten
from pointrecon.utils.errors import InputError, nearest

SHARE = "data.options.ratio"
WHOLE = {SHARE: 1.0}  # what a key is where a config does not say it
MAX_PANELS = 3


def measure(
    table: str | Path,
    *,
    key: str = SHARE,
    by: str | None = "model.stop_grad",
    metrics: Sequence[str] = (),
    rows: Sequence[str] = (),
    out: Path | None = None,
    any_code: bool = False,
) -> dict[str, Any]:
    """What the finished runs of a table come to at each value of a key, over all pretrainings and folds of a row.

    Args:
        table: TABLE.yaml.
        key: of the config of a pretraining; numbers.
        by: another key, one line for each of its values; None: one line.
        metrics: of the table; empty: those that are measured, three at most.
        rows: to compare; empty: all.
        out: folder of the runs, where it is not the table's.
        any_code: count runs that another version of the code has done.

    Returns:
        By metric and line `x`, `mean`, `low`, `high`, `rows`; `key`.

    Raises:
        InputError: an unknown metric, a key without numeric values, or nothing has been measured.
    """
    cells = expand(read_table(table, out), rows)
    places = {cell.row: _place(flatten(cell.run.configure()), key, by) for cell in cells if not cell.metrics}
    records = [record for record in collect(cells, any_code)[0] if record.row in places]
    known = list(dict.fromkeys(record.metric for record in records))
    for name in metrics:
        if name not in known:
            raise InputError(f"nothing is measured as '{name}' in '{table}'; {nearest(name, known)}")
    if not records:
        raise InputError(
            f"no run of '{table}' is done that follows a pretraining; run python scripts/ablate.py {table}"
        )
    chosen = list(metrics) or known[:MAX_PANELS]
    return {"key": key, "metrics": {name: _lines([r for r in records if r.metric == name], places) for name in chosen}}


def _place(config: Mapping[str, Any], key: str, by: str | None) -> tuple[float, str]:
    value = config.get(key, WHOLE.get(key))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{key} is {value!r} in a row of the table, but must be a number to be drawn against")
    return float(value), "" if by is None else f"{by}={str(config.get(by)).lower()}"


def _lines(records: Sequence[Record], places: Mapping[str, tuple[float, str]]) -> dict[str, Any]:
    lines: dict[str, dict[str, list[Any]]] = {}
    for row in sorted({record.row for record in records}, key=lambda row: (places[row], row)):
        (x, name), found = places[row], estimate([record for record in records if record.row == row])
        line = lines.setdefault(name or "all rows", {key: [] for key in ("x", "mean", "low", "high", "rows")})
        for key, value in {"x": x, **_ends(found), "rows": row}.items():
            line[key].append(value)
    return lines


def _ends(found: Estimate) -> dict[str, float]:
    low, high = (found.mean if end is None else end for end in (found.low, found.high))
    return {"mean": found.mean, "low": low, "high": high}


def draw_share(found: Mapping[str, Any], target: Path, *, has_title: bool = True) -> Path:
    """A panel for each metric."""
    words = "share of the data" if found["key"] == SHARE else found["key"]
    panels = [
        Panel(metric, [Line(name, line["x"], line["mean"], line["low"], line["high"]) for name, line in lines.items()],
              words, "accuracy")
        for metric, lines in found["metrics"].items()
    ]  # fmt: skip
    return draw(target, panels, title=f"Accuracy against {words}", subtitle="mean, 95 % interval", has_title=has_title)
