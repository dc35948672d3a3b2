"""What all pictures share: colours, letters, size, and how a file is written.

Colours are safe for colour-blind readers: blue against orange, and seven hues that differ in lightness as well (after
Okabe and Ito); where there are more classes than hues, markers tell them apart.
"""

import contextlib
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from pointrecon.tools.visualize import FORMATS
from pointrecon.utils.errors import check_choice
from pointrecon.utils.files.io import atomic_write

DPI = 150
WIDTH = 11.0  # inches

INK, MUTED, FAINT = "#1d2733", "#66717f", "#d9dee4"
BLUE, ORANGE, GREY, GREEN = "#2466a8", "#e07b1a", "#a9b2bd", "#17806d"
SPLIT_COLORS = {"train": BLUE, "val": ORANGE, "probe": GREEN, "test": INK}
RUN_COLORS = (BLUE, ORANGE, GREEN, "#8c3b7f", "#8a6d00", "#55a7d6", INK)
HUES = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#3b3b3b")
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "p")

BLUES = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#cfe0f1", "#7fb0dc", "#2466a8", "#123a66"])
ORANGES = LinearSegmentedColormap.from_list("oranges", ["#ffffff", "#fbe3c8", "#f5b56b", "#e07b1a", "#974a05"])

_LOOK: Any = {  # matplotlib lists all its settings in the type of this; a dictionary of ours has none of them
    "pdf.fonttype": 42,  # letters as letters, which journals ask for
    "svg.hashsalt": "pointrecon",  # the same picture is the same file
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


class Picture(Figure):
    """A figure that knows whether it is to have a title."""

    has_title = True


@contextlib.contextmanager
def picture(path: Path, width: float, height: float, *, has_title: bool = True) -> Iterator[Picture]:
    """Gives an empty figure and writes it when the block is done. Needs no display and leaves no global state.

    Args:
        path: where it goes, in the format of its ending (png, pdf or svg); an older picture is replaced.
        width: in inches, at 150 dots each.
        height: likewise.
        has_title: False for a paper, which has its captions: `add_title` writes nothing, and the empty edges are cut.

    Raises:
        InputError: an unknown format.
    """
    kind = path.suffix.removeprefix(".")
    check_choice("picture format", kind, FORMATS)
    dates: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    edges: dict[str, Any] = {} if has_title else {"bbox_inches": "tight", "pad_inches": 0.05}
    with rc_context(_LOOK):
        figure = Picture(figsize=(width, height), dpi=DPI)
        figure.has_title = has_title
        yield figure
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=DPI, metadata=dates.get(kind), **edges)


def add_title(figure: Picture, title: str, subtitle: str = "", left: float = 0.35) -> None:
    """Writes a title and a line below it at the top left, if the figure has one; they take `TITLE_HEIGHT` inches.

    Args:
        figure: where.
        title: in bold.
        subtitle: in grey.
        left: inches from the left edge.
    """
    if not figure.has_title:
        return
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - 0.22 / height, title, size=14, weight="bold", va="top")
    figure.text(left / width, 1 - 0.52 / height, subtitle, size=9.5, color=MUTED, va="top")


TITLE_HEIGHT = 0.85


def place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Adds axes at a place given in inches from the lower left corner."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def format_percent(value: float) -> str:
    """0.7925 -> 79.3 %."""
    return f"{100 * value:.1f} %"


def shorten(text: str, length: int) -> str:
    """Cuts a text to a length, between two words where there are some."""
    if len(text) <= length:
        return text
    short = textwrap.shorten(text, length, placeholder=" …")
    return text[: length - 1].rstrip() + "…" if short.strip() == "…" else short


def text_color(background: np.ndarray) -> np.ndarray:
    """Dark or light letters, whichever reads better: (..., 3) RGB in 0..1 -> (...) bool, True = dark."""
    return background @ np.array([0.299, 0.587, 0.114]) > 0.58
