"""One result table: the numbers of a sweep as CSV, Markdown, LaTeX and JSON."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pointrecon.tools.environment import describe_environment
from pointrecon.tools.sweeps.summary import Comparison, Estimate, Record, compare, estimate
from pointrecon.utils.files.io import atomic_write, write_json

COLUMNS = ("row", "metric", "mean", "std", "num_units", "unit", "low", "high", "num_values")
RUN_COLUMNS = tuple(name for name in Record._fields if name != "is_share")  # the last one
COSTS = ("seconds", "measuring", "parameters")
GAIN_COLUMNS = ("against", "gain", "gain_low", "gain_high", "wins", "pairs", "p", "p_holm")
NOTE = (
    "mean ± standard deviation over {units}, 95 % interval by Student's t, n numbers; p: paired t-test, and corrected "
    "by Holm for all comparisons of a metric; seconds of a pretraining and of a run that measures"
)


@dataclasses.dataclass(frozen=True)
class Report:
    """The numbers of a sweep.

    Attributes:
        records: All of them.
        rows: Names of the rows, in the order of the table.
        metrics: Names of the metrics, likewise.
        comparisons: Pairs of rows.
        costs: Row -> `seconds` and `parameters` of a pretraining, and the seconds of a run that measures (`measuring`).
        missing: Row -> runs that are not done.
    """

    records: Sequence[Record]
    rows: Sequence[str]
    metrics: Sequence[str]
    comparisons: Sequence[Comparison]
    costs: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    missing: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def cell(self, row: str, metric: str) -> Estimate | None:
        """What a row comes to in a metric; None if nothing of it is measured."""
        found = [record for record in self.records if record.row == row and record.metric == metric]
        return estimate(found) if found else None


def make_report(
    records: Sequence[Record],
    pairs: Sequence[tuple[str, str]],
    costs: Mapping[str, Mapping[str, float]] | None = None,
    missing: Mapping[str, int] | None = None,
) -> Report:
    """Puts records together; rows and metrics stay in the order in which they come first.

    Args:
        records: All numbers.
        pairs: Rows to compare, (row, against).
        costs: See `Report`.
        missing: See `Report`.
    """
    rows = list(dict.fromkeys(record.row for record in records))
    metrics = list(dict.fromkeys(record.metric for record in records))
    return Report(records, rows, metrics, compare(records, pairs), costs or {}, missing or {})


def publish(
    found: tuple[Sequence[Record], Mapping[str, Mapping[str, float]], Mapping[str, int]],
    pairs: Sequence[tuple[str, str]],
    folder: Path,
    command: Sequence[str],
) -> tuple[str, list[Path]]:
    """Writes the tables of what `table.collect` has found.

    Args:
        found: Records, costs and missing runs.
        pairs: Rows to compare.
        folder: Where to.
        command: The command line, for the JSON file.

    Returns:
        The Markdown table, and the files that were written.
    """
    records, costs, missing = found
    report = make_report(records, pairs, costs, missing)
    facts = {"environment": describe_environment(torch.device("cpu"), command)}
    return format_markdown(report), write_report(report, folder, facts)


def write_report(report: Report, folder: Path, facts: Mapping[str, Any]) -> list[Path]:
    """Writes table.csv, runs.csv, table.md, table.tex and table.json.

    Args:
        report: The numbers.
        folder: Where to.
        facts: What else the JSON file holds, such as the environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "table.csv": format_csv(report),
        "runs.csv": format_runs(report),
        "table.md": format_markdown(report) + "\n",
        "table.tex": format_latex(report) + "\n",
    }
    for name, text in texts.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_json({**facts, **to_json(report)}, folder / "table.json")
    return [folder / name for name in (*texts, "table.json")]


def to_json(report: Report) -> dict[str, Any]:
    """Everything, for a JSON file."""
    cells = {
        row: {metric: dataclasses.asdict(cell) for metric in report.metrics if (cell := report.cell(row, metric))}
        for row in report.rows
    }
    return {
        "rows": cells,
        "comparisons": [dataclasses.asdict(item) for item in report.comparisons],
        "costs": report.costs,
        "missing": report.missing,
        "runs": [dict(zip(RUN_COLUMNS, record, strict=False)) for record in report.records],
    }


def format_csv(report: Report) -> str:
    """A line for each row and metric: mean, standard deviation, n, interval, and its comparison with each other row."""
    lines: list[Sequence[Any]] = [(*COLUMNS, *GAIN_COLUMNS, *COSTS)]
    for row in report.rows:
        costs = [report.costs.get(row, {}).get(key) for key in COSTS]
        for metric in report.metrics:
            cell = report.cell(row, metric)
            if cell is None:
                continue
            own = (row, metric, cell.mean, cell.std, cell.num_units, cell.unit, cell.low, cell.high, cell.num_values)
            found = [item for item in report.comparisons if (item.row, item.metric) == (row, metric)]
            for item in found:
                gain = (item.gain.mean, item.gain.low, item.gain.high)
                lines.append((*own, item.against, *gain, item.wins, item.gain.num_values, item.p, item.p_holm, *costs))
            if not found:
                lines.append((*own, *(None for _ in GAIN_COLUMNS), *costs))
    return _to_csv(lines)


def format_runs(report: Report) -> str:
    """A line for each number of each run."""
    return _to_csv([RUN_COLUMNS, *(record[: len(RUN_COLUMNS)] for record in report.records)])


def format_markdown(report: Report) -> str:
    """Two tables: rows by metrics, and comparisons."""
    lines = [f"| row | {' | '.join(report.metrics)} |{_head(report)}", "| --- " * (len(report.metrics) + 1) + "|"]
    lines[1] += " --- |" * len(COSTS) if report.costs else ""
    for row in report.rows:
        cells = [_text(report.cell(row, metric)) for metric in report.metrics]
        lines.append(f"| {row} | {' | '.join(cells)} |{_costs(report, row, '|')}")
    units = sorted({cell.unit for row in report.rows for name in report.metrics if (cell := report.cell(row, name))})
    lines += ["", NOTE.format(units=" or ".join(f"{unit}s" for unit in units)) + "."]
    if report.missing:
        parts = ", ".join(f"{row} {count}" for row, count in report.missing.items())
        lines.append(f"Not done yet, and so not counted: {sum(report.missing.values())} runs ({parts}).")
    if report.comparisons:
        lines += ["", "| metric | compared | points | 95 % | won | units | p | p (Holm) |", "| --- " * 8 + "|"]
    for item in report.comparisons:
        gain = item.gain
        interval = "" if gain.low is None or gain.high is None else f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
        lines.append(
            f"| {item.metric} | {item.row} - {item.against} | {100 * gain.mean:+.1f} | {interval} | {item.wins} of "
            f"{gain.num_values} | {gain.num_units} {gain.unit}s | {_p(item.p)} | {_p(item.p_holm)} |"
        )
    return "\n".join(lines)


def format_latex(report: Report) -> str:
    """The rows as a table for a paper, with booktabs; the comparisons with the first row that each is held against."""
    columns = "l" + "r" * (len(report.metrics) + 1)
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule"]
    lines += [" & ".join(["row", *map(_escape, report.metrics), "$n$"]) + " \\\\", "\\midrule"]
    for row in report.rows:
        cells = []
        for metric in report.metrics:
            cell = report.cell(row, metric)
            spread = "" if cell is None or cell.std is None else f" $\\pm$ {100 * cell.std:.1f}"
            item = next((item for item in report.comparisons if (item.row, item.metric) == (row, metric)), None)
            mark = "$^{*}$" if item is not None and item.p_holm is not None and item.p_holm < 0.05 else ""
            cells.append("" if cell is None else f"{100 * cell.mean:.1f}{spread}{mark}")
        counts = sorted({cell.num_values for name in report.metrics if (cell := report.cell(row, name))})
        number = f"{counts[0]}--{counts[-1]}" if len(counts) > 1 else "".join(map(str, counts))
        lines.append(" & ".join([_escape(row), *cells, number]) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}", f"% {NOTE.format(units='units')}; * p (Holm) < 0.05"]
    return "\n".join(lines)


def _head(report: Report) -> str:
    return f" {' | '.join(COSTS)} |" if report.costs else ""


def _costs(report: Report, row: str, bar: str) -> str:
    if not report.costs:
        return ""
    costs = report.costs.get(row, {})
    seconds = f" {bar} ".join(f"{costs[key]:.0f}" if key in costs else "" for key in COSTS[:2])
    parameters = f"{costs['parameters'] / 1e6:.2f} M" if "parameters" in costs else ""
    return f" {seconds} {bar} {parameters} {bar}"


def _text(cell: Estimate | None) -> str:
    if cell is None:
        return ""
    if cell.std is None or cell.low is None or cell.high is None:
        return f"{cell.mean:.3f} (n={cell.num_values})"
    return f"{cell.mean:.3f} ± {cell.std:.3f} ({cell.low:.3f} to {cell.high:.3f}, n={cell.num_values})"


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _escape(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "_%&#$" else letter for letter in text)


def _to_csv(lines: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()
