"""Embeddings in two dimensions (t-SNE), each class with a hue and a marker, and named where it lies.

Shape legend: n objects, D width of an embedding, C classes.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from pointrecon.tools.visualize import style
from pointrecon.tools.visualize.files import check_classes, read_arrays
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write

SHAPES = {"ids": "n", "labels": "n", "embeddings": "nD", "class_names": "C", "split": "n"}
MAX_OBJECTS = 3000  # more take minutes and cover each other
_HALO = [withStroke(linewidth=3.5, foreground="white")]
_GLYPH = 14  # pixels that the marker before a name takes
_RADII = (12, 20, 28, 36, 45, 55, 70, 90, 120, 160)  # pixels that a name may lie away from its class


def embed_2d(embeddings: np.ndarray) -> np.ndarray:
    """t-SNE, the same on each call, turned so that it is widest from left to right: (n, D) -> (n, 2).

    Embeddings that are all equal, as those of a network that has collapsed, are all at the origin.
    """
    from sklearn.manifold import TSNE  # a second to import
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    embeddings = embeddings.astype(np.float64)
    embeddings = embeddings / max(float(np.abs(embeddings).max()), np.finfo(np.float64).tiny)  # squares stay finite
    embeddings -= embeddings.mean(axis=0)
    if not (spread := float(embeddings.std())) > 1e-12:  # scikit-learn divides by it, and crashes on the result
        return np.zeros((len(embeddings), 2))
    tsne = TSNE(perplexity=min(30.0, (len(embeddings) - 1) / 3), init="pca", random_state=0)
    with threadpool_limits(1):  # on a busy machine several threads spend most of their time waiting for each other
        points = tsne.fit_transform((embeddings / spread).astype(np.float32))
    points = points - points.mean(axis=0)
    return points @ np.linalg.svd(points, full_matrices=False)[2].T


def find_medoid(points: np.ndarray) -> np.ndarray:
    """The one of the points (n, 2) that is nearest to all others together: a median that lies among them."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return points[distances.sum(axis=1).argmin()]


def place_names(
    anchors: np.ndarray, sizes: np.ndarray, points: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Finds a place for each name near its anchor, where it covers few points and no other name. All in pixels.

    Args:
        anchors: (C, 2).
        sizes: (C, 2) width and height of the names.
        points: (n, 2) that should stay in sight.
        low: (2,) lower left corner of the picture; names stay inside it.
        high: (2,) upper right corner.

    Returns:
        (C, 2) centres of the names.
    """
    angles = np.radians(np.arange(0, 360, 15))
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    offsets = np.concatenate([np.zeros((1, 2)), *(radius * ring for radius in _RADII)])
    places = np.zeros_like(anchors, dtype=float)
    for index, (anchor, size) in enumerate(zip(anchors, sizes, strict=True)):
        centers = np.clip(anchor + offsets, low + size / 2, np.maximum(high - size / 2, low + size / 2))
        is_covered = (np.abs(centers[:, None] - points) < size / 2 + 5).all(axis=-1)
        is_taken = (np.abs(centers[:, None] - places[:index]) < (size + sizes[:index]) / 2).all(axis=-1)
        distance = np.linalg.norm(centers - anchor, axis=1)
        cost = is_covered.sum(axis=1) + distance / 30 + 1000 * is_taken.sum(axis=1)
        places[index] = centers[cost.argmin()]
    return places


def choose_looks(anchors: np.ndarray) -> list[tuple[str, str]]:
    """A hue and a marker for each class: no two have the same pair, and neighbours differ in hue, if possible in both.

    Args:
        anchors: (C, 2), where the classes lie.

    Returns:
        C pairs; they start again after all have been given.
    """
    pairs = [(hue, marker) for marker in style.MARKERS for hue in style.HUES]
    chosen: list[tuple[str, str]] = []
    for index, anchor in enumerate(anchors):
        distances = np.linalg.norm(anchors[:index] - anchor, axis=1)
        used = chosen[index - index % len(pairs) :]

        def gap(part: int, value: str, distances: np.ndarray = distances) -> float:
            """Distance to the nearest class with the same hue (part 0) or marker (part 1)."""
            same = [pair[part] == value for pair in chosen]
            return float(distances[same].min()) if any(same) else np.inf

        free = [pair for pair in pairs if pair not in used]
        chosen.append(max(free, key=lambda pair: (gap(0, pair[0]), gap(1, pair[1]))))
    return chosen


def save_coordinates(path: Path, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Writes a table of the drawn objects as CSV, a column an entry."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def draw_embeddings(source: Path, target: Path, *, has_title: bool = True) -> list[Path]:
    """Draws embeddings.npz, and writes where each object lies beside the picture, as CSV.

    Args:
        source: the file.
        target: the picture.
        has_title: whether it says what it shows.

    Raises:
        InputError: the file is missing or broken, an index has no class, or there are fewer than 4 objects.
    """
    data = read_arrays(source, SHAPES)
    names = [str(name).replace("_", " ") for name in data["class_names"]]
    check_classes(source, len(names), labels=data["labels"])
    total = len(data["labels"])
    if total < 4 or data["embeddings"].shape[1] < 2:
        raise InputError(
            f"'{source}' holds {total} embeddings of width {data['embeddings'].shape[1]}; "
            "t-SNE needs at least 4 of width 2"
        )
    rows = np.arange(total)
    if total > MAX_OBJECTS:
        rows = np.sort(np.random.RandomState(0).permutation(total)[:MAX_OBJECTS])
    labels, split = data["labels"][rows].astype(np.int64), data["split"][rows]
    points = embed_2d(data["embeddings"][rows])
    is_test = split == "test"
    table: dict[str, Any] = {"id": data["ids"][rows], "class": [names[label] for label in labels], "split": split}
    table |= {"x": points[:, 0], "y": points[:, 1]}
    save_coordinates(target.with_suffix(".csv"), table)
    present = np.unique(labels)
    anchors = np.stack([find_medoid(points[labels == label]) for label in present])
    looks = dict(zip(present.tolist(), choose_looks(anchors), strict=True))
    shown = f"{len(rows)} objects" + (f" of {total}, drawn at random" if len(rows) < total else "")
    height = 8.0
    with style.picture(target, style.WIDTH, height, has_title=has_title) as figure:
        style.add_title(figure, "Embeddings by class", f"{shown}; t-SNE of {data['embeddings'].shape[1]} dimensions")
        axes = style.place(figure, 0.3, 0.25, style.WIDTH - 0.6, height - style.TITLE_HEIGHT - 0.25)
        axes.axis("off")
        _draw_points(axes, points, labels, is_test, looks)
        _draw_names(axes, points, anchors, [(names[label], *looks[label]) for label in present.tolist()])
        if is_test.any() and not is_test.all():
            _draw_key(figure)
    return [target]


def _draw_points(
    axes: Axes, points: np.ndarray, labels: np.ndarray, is_test: np.ndarray, looks: Mapping[int, tuple[str, str]]
) -> None:
    size = float(np.clip(26000 / len(points), 9, 60))
    for label, (color, marker) in looks.items():
        for is_outlined in (False, True):
            rows = (labels == label) & (is_test == is_outlined)
            axes.scatter(
                points[rows, 0],
                points[rows, 1],
                s=size * (1.5 if is_outlined else 1.0),
                c=color,
                marker=marker,
                alpha=0.95 if is_outlined else 0.6,
                linewidths=1.2 if is_outlined else 0,
                edgecolors=style.INK if is_outlined else "none",
                zorder=3 if is_outlined else 2,
            )
    axes.margins(0.04)
    axes.set_aspect("equal", adjustable="datalim")  # distances count alike in both directions


def _draw_names(axes: Axes, points: np.ndarray, anchors: np.ndarray, entries: Sequence[tuple[str, str, str]]) -> None:
    """Names beside the classes' medoids, tied to them by a line, each with the class's marker before it.

    Args:
        axes: where.
        points: (n, 2) of all objects.
        anchors: (C, 2) medoids.
        entries: name, hue and marker of each class.
    """
    axes.apply_aspect()  # from here on the transform to pixels holds
    texts = [
        axes.text(
            float(x), float(y), name, size=10.5, weight="bold", ha="left", va="center", path_effects=_HALO, zorder=6
        )
        for (x, y), (name, _, _) in zip(anchors, entries, strict=True)
    ]
    boxes = [text.get_window_extent() for text in texts]
    sizes = np.array([(box.width + 2 * _GLYPH, box.height + 4) for box in boxes])
    low, high = axes.get_window_extent().get_points()
    starts = axes.transData.transform(anchors)
    places = place_names(starts, sizes, axes.transData.transform(points), low, high)
    # The part of the line that runs inside the name's box is left out.
    inside = (sizes / 2 / np.maximum(np.abs(places - starts), 1e-9)).min(axis=1, keepdims=True)
    ends = places + np.minimum(inside, 1) * (starts - places)
    to_data = axes.transData.inverted().transform
    lefts = places - sizes * (0.5, 0)
    glyphs, letters = to_data(lefts + (0.6 * _GLYPH, 0)), to_data(lefts + (1.5 * _GLYPH, 0))
    for text, glyph, letter, (_, hue, marker) in zip(texts, glyphs, letters, entries, strict=True):
        text.set_position(letter)
        axes.plot(*glyph, marker, color=hue, markersize=7, markeredgecolor="white", markeredgewidth=0.8, zorder=7)
    for start, end, (_, hue, _) in zip(anchors, to_data(ends), entries, strict=True):
        axes.plot([start[0], end[0]], [start[1], end[1]], color=hue, linewidth=1.3, zorder=4)


def _draw_key(figure: Figure) -> None:
    common: dict[str, Any] = {"marker": "o", "linestyle": "none", "markerfacecolor": style.GREY, "markersize": 7}
    width, height = figure.get_size_inches()
    figure.legend(
        handles=[
            Line2D([], [], markeredgecolor="none", label="training object", **common),
            Line2D([], [], markeredgecolor=style.INK, markeredgewidth=1.2, label="test object", **common),
        ],
        loc="upper right",
        bbox_to_anchor=(1 - 0.3 / width, 1 - 0.12 / height),
        ncols=2,
        handletextpad=0.2,
    )
