"""What pretraining brought: each way of using the encoder beside the same without pretraining."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from pointrecon.tools.sweeps.summary import wilson
from pointrecon.tools.visualize import style
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import read_json

# Label, key with the pretrained encoder, key without pretraining.
BARS = (
    ("zero-shot (no labels)", "zero_shot_accuracy", None),
    ("SVM on frozen features", "svm_accuracy", "svm_random_accuracy"),
    ("linear layer on frozen encoder", "linear_accuracy", "linear_random_accuracy"),
    ("whole network trained", "finetune_accuracy", "scratch_accuracy"),
)
PANELS = (("all labels", ""), ("5 labels a class", "_5shot"))
_BAR = 0.27  # inches


class Bar(NamedTuple):
    """One way of using the encoder; a tuple holds one value a seed, and is empty if it was not measured."""

    label: str
    pretrained: tuple[float, ...]
    baseline: tuple[float, ...]


class Setting(NamedTuple):
    """What the bars have in common.

    Attributes:
        chances: accuracy of guessing, one a seed.
        num_objects: that each accuracy was measured on; None if the file does not say.
    """

    chances: tuple[float, ...]
    num_objects: int | None


def find_bars(rows: Sequence[Mapping[str, Any]], suffix: str) -> list[Bar]:
    """Takes the bars of one panel out of the results.

    Args:
        rows: one dict with the keys of quickstart.json a seed.
        suffix: "" or "_5shot".
    """
    bars = [
        Bar(label, _values(rows, key + suffix), _values(rows, baseline + suffix) if baseline else ())
        for label, key, baseline in BARS
    ]
    return [bar for bar in bars if bar.pretrained or bar.baseline]


def draw_results(source: Path, target: Path, *, has_title: bool = True) -> list[Path]:
    """Draws quickstart.json.

    Args:
        source: the file.
        target: the picture.
        has_title: whether it says what it shows.

    Raises:
        InputError: the file is missing or broken, or holds no accuracy.
    """
    rows = read_json(source)
    if not isinstance(rows, dict):
        raise InputError(f"'{source}' holds a {type(rows).__name__}, but must be one object with accuracies by name")
    return draw_comparison([rows], target, has_title=has_title)


def draw_comparison(
    rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], path: Path, *, has_title: bool = True
) -> list[Path]:
    """Draws the numbers of quickstart.json as bars; with several seeds their medians, and each seed as a dot.

    Each bar has the 95 % interval over objects: what another test set of this size would have given.

    Args:
        rows: one such dict a seed; a dict alone is one seed.
        path: the picture.
        has_title: whether it says what it shows.

    Raises:
        InputError: none of the accuracies is there, or one is no number in 0..1.
    """
    rows = [rows] if isinstance(rows, Mapping) else list(rows)
    panels = [(title, bars) for title, suffix in PANELS if (bars := find_bars(rows, suffix))]
    if not panels:
        keys = ", ".join(key for _, *pair in BARS for key in pair if key)
        raise InputError(f"there is no accuracy to draw for '{path}'; expected some of: {keys}, also with _5shot")
    setting = Setting(_values(rows, "chance"), _count_objects(rows))
    heights = [_count_slots(bars) * _BAR for _, bars in panels]
    height = style.TITLE_HEIGHT + sum(heights) + 0.55 * len(panels) + 0.45
    with style.picture(path, style.WIDTH, height, has_title=has_title) as figure:
        seeds = f"median of {len(rows)} seeds, each seed a dot" if len(rows) > 1 else "one seed"
        count = setting.num_objects
        spread = f"; lines: 95 % interval over the {count} test objects" if count else ""
        style.add_title(figure, "What pretraining brings", f"test accuracy, {seeds}{spread}")
        figure.legend(
            handles=[Patch(color=style.BLUE, label="pretrained"), Patch(color=style.GREY, label="not pretrained")],
            loc="upper right",
            bbox_to_anchor=(1 - 0.3 / style.WIDTH, 1 - 0.14 / height),
            ncols=2,
            handlelength=1.0,
        )
        top = height - style.TITLE_HEIGHT
        for index, ((title, bars), size) in enumerate(zip(panels, heights, strict=True)):
            top -= 0.45
            axes = style.place(figure, 2.75, top - size, style.WIDTH - 2.75 - 0.5, size)
            _draw_bars(axes, bars, setting, is_last=index == len(panels) - 1)
            axes.set_title(title, x=-2.4 / (style.WIDTH - 3.25), pad=8)
            top -= size + 0.1
    return [path]


def _draw_bars(axes: Axes, bars: Sequence[Bar], setting: Setting, is_last: bool) -> None:
    slot = 0.0
    places, labels = [], []
    for bar in bars:
        pair = [(bar.pretrained, style.BLUE, style.INK), (bar.baseline, style.GREY, style.MUTED)]
        pair = [item for item in pair if item[0]]
        for offset, (values, color, ink) in enumerate(pair):
            _draw_bar(axes, slot + offset, values, (color, ink), setting.num_objects)
        places.append(slot + (len(pair) - 1) / 2)
        labels.append(bar.label)
        slot += len(pair) + 0.7
    axes.set_yticks(places, labels)
    axes.set_ylim(slot - 0.7 - 0.5 + 0.15, -0.65)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.tick_params(axis="y", length=0, labelsize=9.5, labelcolor=style.INK)
    axes.tick_params(axis="x", length=0, labelbottom=is_last)
    axes.grid(axis="y", visible=False)
    axes.spines["bottom"].set_visible(False)
    if setting.chances:
        chance = float(np.median(setting.chances))
        axes.axvline(chance, color=style.ORANGE, linewidth=1.4, linestyle=(0, (4, 2)), zorder=4)
        axes.text(
            chance,
            1.01,
            f"chance {style.format_percent(chance)}",
            transform=axes.get_xaxis_transform(),
            color=style.ORANGE,
            size=8.5,
            ha="left",
            va="bottom",
        )


def _draw_bar(
    axes: Axes, slot: float, values: tuple[float, ...], colors: tuple[str, str], num_objects: int | None
) -> None:
    """A bar up to the median with its interval, its number behind it, and several seeds as dots."""
    (color, ink), middle = colors, float(np.median(values))
    axes.barh(slot, middle, height=0.86, color=color, zorder=3)
    end = middle
    if num_objects:
        low, high = wilson(middle, num_objects)
        axes.plot([low, high], [slot, slot], color=ink, linewidth=1.3, marker="|", markersize=7, zorder=4)
        end = high
    if len(values) > 1:
        axes.plot(values, [slot] * len(values), "o", markersize=4, color="white", markeredgecolor=ink, zorder=5)
        end = max(end, *values)
    # A number that would run out of the picture stands at its edge.
    x, align = (end + 0.012, "left") if end < 0.94 else (1.055, "right")
    text = style.format_percent(middle)
    axes.text(x, slot, text, va="center_baseline", ha=align, color=ink, weight="bold", zorder=5)


def _count_slots(bars: Sequence[Bar]) -> float:
    return sum(bool(bar.pretrained) + bool(bar.baseline) + 0.7 for bar in bars)


def _count_objects(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """The number of test objects, if all seeds have the same."""
    counts = {row.get("num_test_objects") for row in rows}
    count = counts.pop() if len(counts) == 1 else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else None


def _values(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[float, ...]:
    values = [row[key] for row in rows if row.get(key) is not None]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise InputError(f"'{key}' is {value!r}, but an accuracy must be a number from 0 to 1")
    return tuple(float(value) for value in values)
