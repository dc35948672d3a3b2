"""What all figures here are made of: panels of lines, one a network, and panels of coloured squares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from pointrecon.tools.visualize import style

PANEL_HEIGHT, GAP, LEFT, BELOW = 2.6, 0.85, 0.8, 0.75


@dataclass(frozen=True)
class Line:
    """What one network has in a panel.

    Attributes:
        name: of the network; one name has one colour and one marker in the whole figure.
        x: n places.
        y: n numbers, NaN where there is none.
        low: n lower ends of intervals; None: none are drawn.
        high: n upper ends.
        is_dashed: a second line of the same network, with hollow marks.
        is_thin: drawn behind the others, without marks.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    is_dashed: bool = False
    is_thin: bool = False


@dataclass(frozen=True)
class Panel:
    """Lines that share their axes.

    Attributes:
        title: what is drawn.
        lines: in the order of the networks.
        x_label: of the places.
        y_label: of the numbers.
        ticks: names of the places 0, 1, ...; empty: numbers.
        level: a grey line at this height, and what it is.
        is_log: numbers on a logarithmic scale.
        from_zero: the scale starts at 0.
    """

    title: str
    lines: Sequence[Line]
    x_label: str = "layer"
    y_label: str = ""
    ticks: Sequence[str] = ()
    level: tuple[float, str] | None = None
    is_log: bool = False
    from_zero: bool = False


@dataclass(frozen=True)
class Squares:
    """A table of numbers from 0 to 1 as colours.

    Attributes:
        title: what is drawn.
        names: of rows and columns.
        values: (n, n).
    """

    title: str
    names: Sequence[str]
    values: np.ndarray = field(repr=False)


def draw(
    target: Path,
    panels: Sequence[Panel | Squares],
    *,
    title: str,
    subtitle: str = "",
    has_title: bool = True,
    dashed: tuple[str, str] | None = None,
    names: Sequence[str] = (),
) -> Path:
    """Draws panels side by side, with the names of the networks above them.

    Args:
        target: the picture, in the format of its ending.
        panels: two to four.
        title: of the figure.
        subtitle: a line below it.
        has_title: False for papers.
        dashed: what solid and dashed lines mean.
        names: of the networks, in the order of their colours; empty: as they come.
    """
    drawn = [line.name for panel in panels if isinstance(panel, Panel) for line in panel.lines]
    names = names or list(dict.fromkeys(drawn))
    rows = -(-sum(len(name) + 8 for name in names) // 120) if names else 0
    head = (style.TITLE_HEIGHT if has_title else 0.2) + 0.26 * rows + 0.3
    slanted = any(max(map(len, panel.ticks), default=0) > 6 for panel in panels if isinstance(panel, Panel))
    below = BELOW + (0.45 if slanted or any(isinstance(panel, Squares) for panel in panels) else 0.0)
    height = head + PANEL_HEIGHT + below
    width = (style.WIDTH - LEFT - 0.3 - (len(panels) - 1) * GAP) / len(panels)
    with style.picture(target, style.WIDTH, height, has_title=has_title) as figure:
        style.add_title(figure, title, subtitle)
        for number, panel in enumerate(panels):
            axes = style.place(figure, LEFT + number * (width + GAP), below, width, PANEL_HEIGHT)
            axes.set_title(panel.title, pad=7)
            if isinstance(panel, Squares):
                _draw_squares(axes, panel)
            else:
                _draw_lines(axes, panel, names, slanted)
        handles = [Line2D([], [], **look(names.index(name)), label=name) for name in names]
        if dashed:
            kinds: list[Any] = ["-", "--"]
            handles += [
                Line2D([], [], color=style.MUTED, linestyle=kind, label=text)
                for kind, text in zip(kinds, dashed, strict=True)
            ]
        if handles:
            corner = (0.25 / style.WIDTH, 1 - (head - 0.26 * rows - 0.32) / height)
            columns = -(-len(handles) // max(rows, 1))
            figure.legend(handles=handles, ncols=columns, loc="upper left", bbox_to_anchor=corner, handlelength=2.4)
    return target


def look(number: int) -> dict[str, Any]:
    """Colour and marker of a network; both differ, so that neither is needed to tell it from the others."""
    marker = style.MARKERS[number % len(style.MARKERS)]
    return {"color": style.RUN_COLORS[number % len(style.RUN_COLORS)], "marker": marker, "markersize": 5}


def _draw_lines(axes: Axes, panel: Panel, names: Sequence[str], slanted: bool) -> None:
    for line in panel.lines:
        form = look(names.index(line.name))
        if line.is_thin:
            axes.plot(line.x, line.y, color=form["color"], linewidth=0.8, alpha=0.7, zorder=1.5)
            continue
        if line.is_dashed:
            form["markerfacecolor"] = "white"
        axes.plot(line.x, line.y, linestyle="--" if line.is_dashed else "-", **form)
        if line.low is None or line.high is None:
            continue
        if len(line.x) == 1:
            axes.vlines(line.x, line.low, line.high, color=form["color"], linewidth=1.4)
        else:
            axes.fill_between(line.x, line.low, line.high, color=form["color"], alpha=0.15, linewidth=0)
    if panel.level is not None:
        value, text = panel.level
        axes.axhline(value, color=style.MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        axes.text(0.99, value, text, transform=axes.get_yaxis_transform(), ha="right", va="bottom", size=8,
                  color=style.MUTED)  # fmt: skip
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.is_log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if _span(axes) < 50 else (1.0,)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif panel.from_zero:
        axes.set_ylim(bottom=0)
    if panel.ticks:
        axes.set_xticks(range(len(panel.ticks)), panel.ticks, rotation=40 if slanted else 0,
                        ha="right" if slanted else "center")  # fmt: skip
    elif all(float(x).is_integer() for line in panel.lines for x in line.x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _span(axes: Axes) -> float:
    low, high = axes.get_ylim()
    return high / low


def _draw_squares(axes: Axes, panel: Squares) -> None:
    axes.grid(visible=False)
    shades = style.BLUES(np.clip(panel.values, 0, 1))
    axes.imshow(shades, aspect="auto")
    is_dark = style.text_color(shades[..., :3])
    for row, column in np.ndindex(panel.values.shape):
        color = style.INK if is_dark[row, column] else "white"
        axes.text(column, row, f"{panel.values[row, column]:.2f}", ha="center", va="center", size=8.5, color=color)
    places, names = range(len(panel.names)), [style.shorten(name, 16) for name in panel.names]
    axes.set_xticks(places, names, rotation=40, ha="right")
    axes.set_yticks(places, names)


def numbers(values: Mapping[str, Any] | Sequence[Any] | np.ndarray | float | str | None) -> Any:
    """Arrays as lists, rounded to what a figure can show, and NaN as null, for a JSON file."""
    if isinstance(values, Mapping):
        return {key: numbers(value) for key, value in values.items()}
    if isinstance(values, np.ndarray):
        return numbers(values.tolist())
    if isinstance(values, (list, tuple)):
        return [numbers(value) for value in values]
    if isinstance(values, (float, np.floating)):
        return float(f"{values:.6g}") if np.isfinite(values) else None
    return values
