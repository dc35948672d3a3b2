"""How a run went: each loss term, the learning rate and the accuracies over the epochs, each on its own scale."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from pointrecon.tools.visualize import style
from pointrecon.tools.visualize.files import describe_origin, read_metrics

SPLITS = ("train", "val", "probe", "test")
WORDS = {"train": "training", "val": "validation", "probe": "probe", "test": "test"}
NAMES = {
    "loss": "loss, all terms",
    "chamfer": "Chamfer distance",
    "image": "image teacher",
    "text": "text teacher",
    "self": "class-wise contrast",
    "lr": "learning rate",
    "miou": "mean IoU",
}
# Numbers of a record that are no measure of how well it goes.
LEFT_OUT = ("split", "epoch", "step", "shapes_per_second", "seconds", "seed")
_DASHES: dict[str, Any] = {"train": "-", "val": (0, (4, 1.6)), "probe": (0, (6, 1.2, 1, 1.2)), "test": (0, (1, 1.2))}
_COLUMNS, _PANEL_HEIGHT = 3, 2.05

Record = Mapping[str, Any]
Series = tuple[np.ndarray, np.ndarray]  # epochs and values, NaN where a value is missing


def find_panels(runs: Iterable[Sequence[Record]]) -> list[str]:
    """Names the metrics that have a course: values at two epochs of a split. Loss and terms first, the rate last."""
    names: dict[str, None] = {}
    for records in runs:
        epochs: dict[tuple[str, str], set[float]] = {}
        for record in records:
            for name, value in record.items():
                if record["split"] in SPLITS and _is_number(value):
                    epochs.setdefault((name, record["split"]), set()).add(record["epoch"])
        names |= dict.fromkeys(name for (name, _), times in epochs.items() if len(times) > 1)
    shown = [name for name in names if name not in LEFT_OUT and "num_" not in name and not name.endswith("_std")]
    return sorted(shown, key=lambda name: (name == "lr", is_share(name), name != "loss"))  # otherwise as they came


def get_series(records: Sequence[Record], split: str, name: str) -> Series:
    """Epochs and values of a metric; NaN where the value is null."""
    rows = [record for record in records if record["split"] == split and name in record]
    values = [float(row[name]) if _is_number(row[name]) else math.nan for row in rows]
    return np.array([float(row["epoch"]) for row in rows]), np.array(values)


def is_share(name: str) -> bool:
    """Whether a metric lies in 0..1, so that it is drawn in per cent."""
    return "accuracy" in name or "iou" in name


def draw_curves(sources: Mapping[str, Path], target: Path, *, has_title: bool = True) -> list[Path]:
    """Draws metrics.jsonl of one run, or of several over each other.

    Args:
        sources: the files, by the name of the run.
        target: the picture.
        has_title: whether it says what it shows.

    Returns:
        the picture, or nothing if no metric has a course, as in a run that only evaluates.

    Raises:
        InputError: a file is missing or broken.
    """
    runs = {name: read_metrics(path) for name, path in sources.items()}
    panels = find_panels(runs.values())
    if not panels:
        return []
    columns = 2 if len(panels) == 4 else min(len(panels), _COLUMNS)
    rows = -(-len(panels) // columns)
    head = style.TITLE_HEIGHT + (0.22 * _count_key_rows(runs) if len(runs) > 1 else 0.0)
    height = head + 0.45 + rows * (_PANEL_HEIGHT + 0.65)
    gap, edge = 0.75, 0.75
    width = (style.WIDTH - edge - 0.5 - (columns - 1) * gap) / columns
    last_epoch = max(float(record["epoch"]) for records in runs.values() for record in records)
    with style.picture(target, style.WIDTH, height, has_title=has_title) as figure:
        title, subtitle = "Course of the training", ""  # several runs have their names below it
        if len(runs) == 1:
            (records,), (source,) = runs.values(), sources.values()
            title, subtitle = style.shorten(describe_origin(source.parent), 78), _describe(records)
        style.add_title(figure, title, subtitle)
        for index, name in enumerate(panels):
            row, column = divmod(index, columns)
            bottom = height - head - 0.35 - (row + 1) * (_PANEL_HEIGHT + 0.65) + 0.65
            axes = style.place(figure, edge + column * (width + gap), bottom, width, _PANEL_HEIGHT)
            _draw_panel(axes, name, runs)
            axes.set_title(_name_panel(name, panels), pad=7)
            axes.set_xlim(0, 1.03 * last_epoch)
            if index + columns >= len(panels):
                axes.set_xlabel("epoch")
        _draw_key(figure, runs, panels)
    return [target]


def _draw_panel(axes: Axes, name: str, runs: Mapping[str, Sequence[Record]]) -> None:
    factor = 100 if is_share(name) else 1
    everything = []
    for run, records in enumerate(runs.values()):
        for split in SPLITS:
            epochs, values = get_series(records, split, name)
            values = factor * values
            if not np.isfinite(values).any():
                continue
            everything.append(values)
            color = style.SPLIT_COLORS[split] if len(runs) == 1 else _run_color(run)
            if len(values) > 1:
                dashes = "-" if len(runs) == 1 else _DASHES[split]
                axes.plot(epochs, values, color=color, linestyle=dashes, zorder=3 + run)
            if split == "test":
                axes.plot(epochs[-1], values[-1], "D", markersize=7, color=color, markeredgecolor="white", zorder=99)
                if len(runs) == 1:
                    text = f"{values[-1]:.1f} %" if is_share(name) else f"{values[-1]:.4g}"
                    # Accuracies rise and losses fall: this corner is the empty one.
                    y, align = (0.05, "bottom") if is_share(name) else (0.95, "top")
                    axes.text(0.97, y, f"test {text}", transform=axes.transAxes, ha="right", va=align, weight="bold")
    values = np.concatenate(everything)
    values = values[np.isfinite(values)]
    if is_share(name):
        axes.set_ylim(0, max(min(105.0, 1.15 * values.max()), 1))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    elif name != "lr" and values.min() > 0 and values.max() > 8 * values.min():
        axes.set_yscale("log")  # a loss that falls this far hides its second half on a linear scale
        _thin_log_ticks(axes)
    elif name == "lr":
        axes.set_ylim(0, 1.08 * max(values.max(), 1e-12))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")


def _thin_log_ticks(axes: Axes) -> None:
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _name_panel(name: str, panels: Sequence[str]) -> str:
    has_terms = any(term in panels for term in ("chamfer", "image", "text", "self"))
    return "loss" if name == "loss" and not has_terms else NAMES.get(name, _read(name))


def _draw_key(figure: Figure, runs: Mapping[str, Sequence[Record]], panels: Sequence[str]) -> None:
    """Says at the top right what the kinds of line are and, for several runs, below the title which run is which."""
    width, height = figure.get_size_inches()
    handles = []
    for split in SPLITS:
        if any(np.isfinite(get_series(records, split, name)[1]).any() for records in runs.values() for name in panels):
            color, dashes = (style.SPLIT_COLORS[split], "-") if len(runs) == 1 else (style.MUTED, _DASHES[split])
            look: dict[str, Any] = {"color": color, "linestyle": dashes}
            if split == "test":
                look |= {"marker": "D", "linestyle": "none", "markersize": 6}
            handles.append(Line2D([], [], label=WORDS[split], **look))
    corner = (1 - 0.3 / width, 1 - 0.12 / height)
    figure.legend(handles=handles, ncols=len(handles), loc="upper right", bbox_to_anchor=corner, handlelength=1.8)
    if len(runs) > 1:
        lines = [Line2D([], [], color=_run_color(index), label=name) for index, name in enumerate(runs)]
        corner = (0.25 / width, 1 - 0.46 / height)
        columns = -(-len(runs) // _count_key_rows(runs))
        figure.legend(handles=lines, ncols=columns, loc="upper left", bbox_to_anchor=corner, handlelength=1.8)


def _count_key_rows(runs: Iterable[str]) -> int:
    """Rows that the names of the runs take below the title."""
    return -(-sum(len(name) + 6 for name in runs) // 120)


def _run_color(index: int) -> str:
    return style.RUN_COLORS[index % len(style.RUN_COLORS)]


def _describe(records: Sequence[Record]) -> str:
    """One line about a run: length, speed, results on the test split."""
    parts = [f"{max(int(record['epoch']) for record in records)} epochs"]
    rates = get_series(records, "train", "shapes_per_second")[1]
    if np.isfinite(rates).any():
        parts.append(f"{np.nanmedian(rates):.0f} shapes/s")
    tests = [record for record in records if record["split"] == "test"]
    if tests:
        shares = [
            f"{_read(name)} {style.format_percent(value)}"
            for name, value in tests[-1].items()
            if is_share(name) and "std" not in name and _is_number(value)
        ]
        count = tests[-1].get("num_objects")
        objects = f" ({count:.0f} objects)" if _is_number(count) else ""
        parts += [f"test{objects}: {', '.join(shares[:3])}"] if shares else []
    return "; ".join(parts)


def _read(name: str) -> str:
    """zero_shot.mean_class_accuracy -> zero-shot mean-class accuracy."""
    words = name.replace("_", " ").replace(".", " ").replace("/", " ")
    return words.replace("mean class", "mean-class").replace("zero shot", "zero-shot").replace("svm", "SVM")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
