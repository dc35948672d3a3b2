"""What all pictures share: colours, letters, size, and how a file is written.

Colours are safe for colour-blind readers: blue against orange, and ten hues of differing lightness (after Paul Tol).
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from pointrecon.utils.files.io import atomic_write

DPI = 150
WIDTH = 11.0  # inches

INK, MUTED, FAINT = "#1d2733", "#66717f", "#d9dee4"
BLUE, ORANGE, GREY, GREEN = "#2466a8", "#e07b1a", "#a9b2bd", "#17806d"
SPLIT_COLORS = {"train": BLUE, "val": ORANGE, "test": INK}
RUN_COLORS = (BLUE, ORANGE, GREEN, "#8c3b7f", "#8a6d00", "#55a7d6", INK)
HUES = ("#2f5fa8", "#e0791b", "#17806d", "#c0392f", "#6b3fa0", "#a8842c", "#3aa7d8", "#cf4f93", "#6a9a2d", "#6b7280")
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "p")

BLUES = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#cfe0f1", "#7fb0dc", "#2466a8", "#123a66"])
ORANGES = LinearSegmentedColormap.from_list("oranges", ["#ffffff", "#fbe3c8", "#f5b56b", "#e07b1a", "#974a05"])

_LOOK = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: a picture is the same on every machine
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold a $
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.formatter.limits": (-4, 5),
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
}


@contextlib.contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Gives an empty figure and writes it as PNG when the block is done. Needs no display and leaves no global state.

    Args:
        path: where it goes; an older picture is replaced.
        width: in inches, at 150 dots each.
        height: likewise.
    """
    with rc_context(_LOOK):
        figure = Figure(figsize=(width, height), dpi=DPI)
        yield figure
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format="png", dpi=DPI)


def add_title(figure: Figure, title: str, subtitle: str = "", left: float = 0.35) -> None:
    """Writes a title and a line below it at the top left; together they take `TITLE_HEIGHT` inches.

    Args:
        figure: where.
        title: in bold.
        subtitle: in grey.
        left: inches from the left edge.
    """
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - 0.22 / height, title, size=14, weight="bold", va="top")
    figure.text(left / width, 1 - 0.52 / height, subtitle, size=9.5, color=MUTED, va="top")


TITLE_HEIGHT = 0.85


def place(figure: Figure, left: float, bottom: float, width: float, height: float):
    """Adds axes at a place given in inches from the lower left corner."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def format_percent(value: float) -> str:
    """0.7925 -> 79.3 %."""
    return f"{100 * value:.1f} %"


def text_color(background: np.ndarray) -> np.ndarray:
    """Dark or light letters, whichever reads better: (..., 3) RGB in 0..1 -> (...) bool, True = dark."""
    return background @ np.array([0.299, 0.587, 0.114]) > 0.58
