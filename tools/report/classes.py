"""Predictions: the confusion matrix, the accuracy of each class with its interval, and the worst mistakes.

Shape legend: n objects, C classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.tools.report.objects import Objects
from pointrecon.tools.report.page import Page, note, percent, table, text
from pointrecon.tools.report.runs import Run
from pointrecon.tools.sweeps.summary import wilson
from pointrecon.tools.visualize.confusion import SHAPES, count_confusions, summarize
from pointrecon.tools.visualize.files import check_classes, read_arrays
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.npy import read_npz

MAX_MISTAKES = 12
MAX_CLASSES = 60  # a larger matrix is no picture any more
MAX_FILES = 12
SCORES = ("probabilities", "similarities")


def add_predictions(page: Page, runs: Sequence[Run], objects: Mapping[str, Objects]) -> None:
    """The section of predictions, one panel a file of them."""
    panels: dict[str, str] = {}
    sources = [(run, path) for run in runs for path in run.files("predictions*.npz")]
    for run, path in sources[:MAX_FILES]:
        name = run.name if path.stem == "predictions" else f"{run.name}, {path.stem.partition('-')[2]}"
        try:
            panels[name] = _panel(page, f"predictions-{len(panels)}", path, objects[run.name])
        except InputError as error:
            panels[name] = note(str(error))
    if not panels:
        page.add("predictions", "Predictions", note("No run has written predictions (predictions.npz)."))
        return
    left = (
        note(f"{len(sources) - MAX_FILES} more files of predictions are left out.") if len(sources) > MAX_FILES else ""
    )
    page.add("predictions", "Predictions", page.panels("predictions", "Predictions of", panels) + left)


def _panel(page: Page, key: str, path: Path, objects: Objects) -> str:
    data = read_arrays(path, {**SHAPES, "ids": "n"})
    names = [str(name).replace("_", " ") for name in data["class_names"]]
    check_classes(path, len(names), labels=data["labels"], predictions=data["predictions"])
    labels, predictions = data["labels"].astype(np.int64), data["predictions"].astype(np.int64)
    counts = count_confusions(labels, predictions, len(names))
    overall, mean_class = summarize(counts)
    low, high = wilson(overall, len(labels))
    words = f"{len(labels)} objects: {percent(overall)} right (95 % interval {percent(low)} to {percent(high)}), "
    words += f"mean of the classes {percent(mean_class)}."
    scores = read_scores(path, counts.shape[0], len(labels))
    parts = [f"<p>{text(words)}</p>"]
    parts.append(_confusion(page, f"{key}-confusion", counts, names) if len(names) <= MAX_CLASSES else "")
    parts.append(_per_class(page, f"{key}-classes", counts, names, overall))
    parts.append(_mistakes(page, (labels, predictions, scores), [str(name) for name in data["ids"]], names, objects))
    return "".join(parts)


def read_scores(path: Path, num_classes: int, num_objects: int) -> np.ndarray | None:
    """(n, C) probabilities, or similarities as such; None where the file has none, as older ones do."""
    try:
        found = read_npz(path)
    except (OSError, ValueError):
        return None
    scores = next((found[name] for name in SCORES if name in found), None)
    if scores is None or scores.dtype.kind != "f" or scores.shape != (num_objects, num_classes):
        return None
    return scores if np.isfinite(scores).all() else None


def _confusion(page: Page, key: str, counts: np.ndarray, names: Sequence[str]) -> str:
    totals = counts.sum(axis=1)
    share = counts / np.maximum(totals, 1)[:, None]
    is_right = np.eye(len(names), dtype=bool)
    traces = []
    for mask, color, word in ((is_right, "@0", "right"), (~is_right, "@1", "wrong")):
        shown = np.where(mask & (counts > 0), share, np.nan)
        traces.append(
            {
                "type": "heatmap",
                "x": list(names),
                "y": list(names),
                "z": _nullable(shown),
                "zmin": 0,
                "zmax": 1,
                "text": [[str(count) if count else "" for count in row] for row in np.where(mask, counts, 0)],
                "texttemplate": "%{text}",
                "textfont": {"color": "@ink"},
                "colorscale": [[0, f"{color}~0.12"], [1, f"{color}~0.5"]],
                "showscale": False,
                "xgap": 1,
                "ygap": 1,
                "hoverongaps": False,
                "hovertemplate": f"%{{y}} taken for %{{x}}: %{{text}} ({word})<extra></extra>",
            }
        )
    side = int(np.clip(30 * len(names), 260, 900))
    layout = {
        "height": side + 170,
        "width": side + 170,
        "yaxis": {"autorange": "reversed", "title": {"text": "true class"}},
        "xaxis": {"tickangle": -45, "title": {"text": "predicted class"}},
    }
    rows = [(names[row], names[column], int(counts[row, column])) for row, column in np.argwhere(counts * ~is_right)]
    rows.sort(key=lambda row: -row[2])
    numbers = table(("true class", "taken for", "objects"), rows, "Confusions, the most frequent first")
    label = "What each class was taken for: number of objects, colour by the share of the true class"
    return "<h3>Confusion matrix</h3>" + page.figure(key, traces, layout, label, numbers)


def _per_class(page: Page, key: str, counts: np.ndarray, names: Sequence[str], overall: float) -> str:
    totals, right = counts.sum(axis=1), np.diag(counts)
    present = np.flatnonzero(totals)
    order = present[np.argsort(right[present] / totals[present], kind="stable")]
    found = [
        (names[c], right[c] / totals[c], *wilson(right[c] / totals[c], int(totals[c])), int(totals[c])) for c in order
    ]
    values = [100 * value for _, value, *_ in found]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": values,
        "y": [f"{name} ({total})" for name, *_, total in found],
        "marker": {"size": 9, "color": "@0"},
        "hovertemplate": "%{y}: %{x:.1f} %<extra></extra>",
        "error_x": {
            "type": "data",
            "array": [100 * high - value for value, (*_, high, _) in zip(values, found, strict=True)],
            "arrayminus": [value - 100 * low for value, (_, _, low, *_) in zip(values, found, strict=True)],
            "color": "@0/0.6",
            "thickness": 1.5,
            "width": 4,
        },
    }
    line = {
        "type": "line",
        "x0": 100 * overall,
        "x1": 100 * overall,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": "@1", "dash": "dash", "width": 1.5},
    }
    layout = {
        "height": 24 * len(found) + 90,
        "xaxis": {"range": [-2, 102], "ticksuffix": " %"},
        "shapes": [line],
        "yaxis": {"automargin": True},
    }
    rows = [
        (name, percent(value), f"{percent(low)} to {percent(high)}", total) for name, value, low, high, total in found
    ]
    numbers = table(("class", "accuracy", "95 % interval", "objects"), rows[::-1], "Accuracy of each class")
    label = f"Accuracy of each class with its 95 % interval (Wilson); dashed: all objects, {percent(overall)}"
    return "<h3>Accuracy of each class</h3>" + page.figure(key, [trace], layout, label, numbers)


def _mistakes(
    page: Page,
    told: tuple[np.ndarray, np.ndarray, np.ndarray | None],
    ids: Sequence[str],
    names: Sequence[str],
    objects: Objects,
) -> str:
    labels, predictions, scores = told
    wrong = np.flatnonzero(labels != predictions)
    head = "<h3>The worst mistakes</h3>"
    if not len(wrong):
        return head + note("There is no mistake.")
    words = f"{len(wrong)} mistakes; "
    if scores is None:
        words += "the file holds no scores, so they stand in its order."
    else:
        gap = scores[wrong, predictions[wrong]] - scores[wrong, labels[wrong]]
        wrong = wrong[np.argsort(-gap, kind="stable")]
        words += "first those where the class that was said is furthest ahead of the true one."
    picked = wrong[:MAX_MISTAKES]
    keys = objects.add_clouds(page, [ids[row] for row in picked])
    items = []
    for row in picked:
        said, true = names[predictions[row]], names[labels[row]]
        by: dict[str, Any] = {"said": "", "true": ""}
        if scores is not None:
            by = {"said": f" {scores[row, predictions[row]]:.2f}", "true": f" {scores[row, labels[row]]:.2f}"}
        words_of = f"{objects.name(ids[row])}: {true}{by['true']}, taken for {said}{by['said']}"
        items.append(thumbnail(keys.get(ids[row]), words_of))
    return f'{head}{note(words)}{objects.why_none()}<ul class="thumbs">{"".join(items)}</ul>'


def thumbnail(key: str | None, words: str, mark: str = "") -> str:
    """A small cloud that can be turned, with a line below it."""
    label = f"Cloud of {words}. Arrow keys turn it."
    canvas = '<span class="empty">no cloud</span>'
    if key is not None:
        canvas = f'<canvas class="cloud" tabindex="0" role="img" aria-label="{text(label)}" data-cloud="{text(key)}">'
        canvas += "</canvas>"
    return f'<li><figure class="thumb {mark}">{canvas}<figcaption>{text(words)}</figcaption></figure></li>'


def _nullable(values: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(value) else round(float(value), 4) for value in row] for row in values]
