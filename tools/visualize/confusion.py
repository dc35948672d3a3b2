"""The confusion matrix: what each class was taken for.

Shape legend: n objects, C classes.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from pointrecon.tools.sweeps.summary import wilson
from pointrecon.tools.visualize import style
from pointrecon.tools.visualize.files import check_classes, read_arrays

SHAPES = {"labels": "n", "predictions": "n", "class_names": "C"}


def count_confusions(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """(C, C) int64: row = true class, column = predicted class."""
    return np.bincount(labels * num_classes + predictions, minlength=num_classes**2).reshape(num_classes, num_classes)


def summarize(counts: np.ndarray) -> tuple[float, float]:
    """Overall and mean-class accuracy from (C, C) counts; classes without an object do not count in the mean."""
    totals = counts.sum(axis=1)
    correct = np.diag(counts)
    return float(correct.sum() / totals.sum()), float((correct[totals > 0] / totals[totals > 0]).mean())


def draw_confusion(source: Path, target: Path, *, has_title: bool = True) -> list[Path]:
    """Draws predictions.npz or predictions-NAME.npz.

    Args:
        source: the file.
        target: the picture.
        has_title: whether it says what it shows.

    Raises:
        InputError: the file is missing or broken, or an index has no class.
    """
    data = read_arrays(source, SHAPES)
    names = [str(name).replace("_", " ") for name in data["class_names"]]
    check_classes(source, len(names), labels=data["labels"], predictions=data["predictions"])
    counts = count_confusions(data["labels"].astype(np.int64), data["predictions"].astype(np.int64), len(names))
    overall, mean_class = summarize(counts)
    low, high = wilson(overall, int(counts.sum()))
    what = source.stem.partition("-")[2].replace("_", "-")
    title = f"What each class was taken for{f' ({what})' if what else ''}"
    subtitle = (
        f"{counts.sum()} objects: overall accuracy {style.format_percent(overall)} "
        f"(95 %: {style.format_percent(low)} to {style.format_percent(high)}), "
        f"mean-class accuracy {style.format_percent(mean_class)}"
    )
    side = float(np.clip(0.4 * len(names), 4.0, 8.4))
    letters = min(max(len(name) for name in names) + 5, 30) * 0.078
    left, bottom = letters + 0.55, min(letters, 0.078 * 25) * 0.75 + 0.35
    height = style.TITLE_HEIGHT + 0.35 + side + bottom
    with style.picture(target, max(left + side + 0.55, 7.0), height, has_title=has_title) as figure:
        style.add_title(figure, title, subtitle)
        axes = style.place(figure, left, bottom, side, side)
        _draw_matrix(axes, counts, names)
        _draw_key(axes)
    return [target]


def _draw_matrix(axes: Axes, counts: np.ndarray, names: list[str]) -> None:
    num_classes = len(names)
    totals = counts.sum(axis=1)
    share = counts / np.maximum(totals, 1)[:, None]
    is_right = np.eye(num_classes, dtype=bool)
    # Half of the ramp is left free, so that the smallest share still differs from the paper.
    level = np.where(share > 0, 0.12 + 0.88 * share, 0.0)
    colors = np.where(is_right[..., None], style.BLUES(level)[..., :3], style.ORANGES(level)[..., :3])
    axes.imshow(colors, interpolation="nearest")
    axes.set_xticks(np.arange(num_classes), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(num_classes), [f"{n} ({t})" for n, t in zip(names, totals, strict=True)])
    size = float(np.clip(190 / num_classes, 4.5, 9))
    axes.tick_params(length=0, labelsize=float(np.clip(260 / num_classes, 5, 9.5)), labelcolor=style.INK, pad=4)
    axes.set_xlabel("predicted class", labelpad=6)
    axes.set_ylabel("true class (objects)", labelpad=8)
    axes.grid(False)
    axes.set_xticks(np.arange(num_classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(num_classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=style.FAINT, linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set(visible=True, color=style.FAINT)
    is_dark = style.text_color(colors)
    for row, column in zip(*np.nonzero(counts), strict=True):
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center_baseline",
            size=size,
            color=style.INK if is_dark[row, column] else "white",
            weight="bold" if row == column else "normal",
        )


def _draw_key(axes: Axes) -> None:
    handles = [
        Patch(color=style.BLUES(0.75), label="right"),
        Patch(color=style.ORANGES(0.6), label="wrong"),
        Patch(color="none", label="(numbers: objects; colour: share of the row)"),
    ]
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=3,
        borderaxespad=0.4,
        handlelength=1.0,
        columnspacing=1.2,
        fontsize=8.5,
    )
