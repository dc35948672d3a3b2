"""Curves of the training: one chart a metric, a line a group of runs, a band where a group has several seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pointrecon.tools.report.page import NUM_HUES, Page, note, table, text
from pointrecon.tools.report.runs import Run
from pointrecon.tools.visualize.curves import NAMES, SPLITS, WORDS, find_panels, get_series
from pointrecon.tools.visualize.curves import is_share as is_percentage

DASHES = {"train": "solid", "val": "dash", "probe": "dashdot", "test": "dot"}
MAX_POINTS = 400  # of a line: more cannot be told apart


def add_curves(page: Page, groups: Mapping[str, Sequence[Run]]) -> None:
    """The section of curves."""
    shown = {name: runs for name, runs in groups.items() if any(run.records for run in runs)}
    panels = find_panels([run.records for runs in shown.values() for run in runs])
    if not panels:
        page.add("curves", "Curves", note("No run has trained for two epochs yet, so there is no curve."))
        return
    has_course = {name: any(_lines(runs, panel) for panel in panels) for name, runs in shown.items()}
    shown = {name: runs for name, runs in shown.items() if has_course[name]}
    keys = "".join(
        f'<li><span class="swatch" data-color="@{row % NUM_HUES}" aria-hidden="true"></span>{text(name)}'
        f"{f' ({len(runs)} seeds)' if len(runs) > 1 else ''}</li>"
        for row, (name, runs) in enumerate(shown.items())
    )
    charts = "".join(_chart(page, number, panel, shown) for number, panel in enumerate(panels))
    splits = [split for split in SPLITS if any(_has(run, split, panels) for runs in shown.values() for run in runs)]
    lines = ", ".join(f"{WORDS[split]} {DASHES[split].replace('dot', 'dotted')}" for split in splits)
    words = f"Lines: {lines}; a diamond where there is one value. Where a run was made with several seeds: their mean, "
    words += "and a band from the lowest to the highest of them."
    page.add("curves", "Curves", f'{note(words)}<ul class="key">{keys}</ul><div class="charts">{charts}</div>')


def _chart(page: Page, number: int, panel: str, groups: Mapping[str, Sequence[Run]]) -> str:
    factor = 100.0 if is_percentage(panel) else 1.0
    traces: list[dict[str, Any]] = []
    rows = []
    lowest, highest = np.inf, -np.inf
    for row, (name, runs) in enumerate(groups.items()):
        color = f"@{row % NUM_HUES}"
        for split, (epochs, values) in _lines(runs, panel).items():
            values = factor * values
            mean, low, high = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
            lowest, highest = min(lowest, low.min()), max(highest, high.max())
            if len(values) > 1:
                edges = {"x": [*epochs, *epochs[::-1]], "y": [*_round(high), *_round(low[::-1])]}
                traces.append(
                    {
                        **edges,
                        "type": "scatter",
                        "mode": "lines",
                        "fill": "toself",
                        "line": {"width": 0},
                        "fillcolor": f"{color}/0.2",
                        "hoverinfo": "skip",
                    }
                )
            mode = "lines" if len(epochs) > 1 else "markers"
            label = name if split == "train" else f"{name}, {WORDS[split]}"
            look = {"color": color, "dash": DASHES[split], "width": 2}
            traces.append(
                {
                    "x": list(epochs),
                    "y": _round(mean),
                    "type": "scatter",
                    "mode": mode,
                    "name": label,
                    "line": look,
                    "marker": {"color": color, "size": 8, "symbol": "diamond"},
                }
            )
            end = f"{mean[-1]:.4g}" + (f" ({low[-1]:.4g} to {high[-1]:.4g})" if len(values) > 1 else "")
            rows.append((label, float(mean[0]), end, float(mean.min()), float(mean.max())))
    unit = "%" if factor > 1 else ""
    axis: dict[str, Any] = {"ticksuffix": f" {unit}" if unit else "", "rangemode": "tozero" if unit else "normal"}
    if not unit and panel != "lr" and lowest > 0 and highest > 8 * lowest:
        axis = {"type": "log", "dtick": "D2", "tickformat": "~r"}
    title = NAMES.get(panel, panel.replace("_", " ").replace(".", " "))
    layout = {
        "title": {"text": title},
        "xaxis": {"title": {"text": "epoch"}},
        "yaxis": axis,
        "height": 300,
        "hovermode": "x unified",
    }
    head = ("line", "first", "last", "lowest", "highest")
    numbers = table(head, rows, f"{title}{f' in {unit}' if unit else ''}, by run")
    return page.figure(f"curve-{number}", traces, layout, f"{title} over the epochs", numbers)


def _lines(runs: Sequence[Run], panel: str) -> dict[str, tuple[list[float], np.ndarray]]:
    """By split: epochs that all seeds have reached, and values (seeds, epochs)."""
    lines = {}
    for split in SPLITS:
        series = [dict(zip(*map(list, get_series(run.records, split, panel)), strict=True)) for run in runs]
        series = [{e: v for e, v in values.items() if np.isfinite(v)} for values in series]
        series = [values for values in series if values]
        if not series:
            continue
        epochs = sorted(set.intersection(*(set(values) for values in series)))
        if epochs:
            picked = sorted({epochs[round(row)] for row in np.linspace(0, len(epochs) - 1, MAX_POINTS)})
            lines[split] = picked, np.array([[values[epoch] for epoch in picked] for values in series])
    return lines


def _has(run: Run, split: str, panels: Sequence[str]) -> bool:
    return any(record["split"] == split and any(panel in record for panel in panels) for record in run.records)


def _round(values: np.ndarray) -> list[float]:
    """Six digits: half the size of the page, and nobody reads more."""
    return [float(f"{value:.6g}") for value in values]
