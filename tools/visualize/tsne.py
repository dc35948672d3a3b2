"""Embeddings in two dimensions (t-SNE), coloured by class, each class named where it lies.

Shape legend: n objects, D width of an embedding, C classes.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from pointrecon.tools.visualize import style
from pointrecon.tools.visualize.files import check_classes, read_arrays
from pointrecon.utils.errors import InputError

SHAPES = {"labels": "n", "embeddings": "nD", "class_names": "C", "split": "n"}
MAX_OBJECTS = 3000  # more take minutes and cover each other
_HALO = [withStroke(linewidth=3.5, foreground="white")]
_RADII = (12, 20, 28, 36, 45, 55, 70, 90, 120, 160)  # pixels that a name may lie away from its class


def embed_2d(embeddings: np.ndarray) -> np.ndarray:
    """t-SNE, the same on each call, turned so that it is widest from left to right: (n, D) -> (n, 2)."""
    from sklearn.manifold import TSNE  # a second to import
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    tsne = TSNE(perplexity=min(30.0, (len(embeddings) - 1) / 3), init="pca", random_state=0)
    with threadpool_limits(1):  # on a busy machine several threads spend most of their time waiting for each other
        points = tsne.fit_transform(embeddings.astype(np.float32))
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


def draw_embeddings(source: Path, target: Path) -> list[Path]:
    """Draws embeddings.npz.

    Args:
        source: the file.
        target: the picture.

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
    shown = f"{len(rows)} objects" + (f" of {total}, drawn at random" if len(rows) < total else "")
    height = 8.0
    with style.picture(target, style.WIDTH, height) as figure:
        style.add_title(figure, "Embeddings by class", f"{shown}; t-SNE of {data['embeddings'].shape[1]} dimensions")
        axes = style.place(figure, 0.3, 0.25, style.WIDTH - 0.6, height - style.TITLE_HEIGHT - 0.25)
        axes.axis("off")
        _draw_points(axes, points, labels, is_test)
        _draw_names(axes, points, labels, names)
        if is_test.any() and not is_test.all():
            _draw_key(figure)
    return [target]


def _draw_points(axes: Axes, points: np.ndarray, labels: np.ndarray, is_test: np.ndarray) -> None:
    size = float(np.clip(26000 / len(points), 9, 60))
    for label in np.unique(labels):
        color, marker = _look(label)
        for is_outlined in (False, True):
            rows = (labels == label) & (is_test == is_outlined)
            axes.scatter(
                *points[rows].T,
                s=size * (1.5 if is_outlined else 1.0),
                c=color,
                marker=marker,
                alpha=0.95 if is_outlined else 0.55,
                linewidths=1.2 if is_outlined else 0,
                edgecolors=style.INK if is_outlined else "none",
                zorder=3 if is_outlined else 2,
            )
    axes.margins(0.04)
    axes.set_aspect("equal", adjustable="datalim")  # distances count alike in both directions


def _draw_names(axes: Axes, points: np.ndarray, labels: np.ndarray, names: list[str]) -> None:
    """Names beside the classes' medoids, tied to them by a line."""
    axes.apply_aspect()  # from here on the transform to pixels holds
    present = np.unique(labels)
    anchors = np.stack([find_medoid(points[labels == label]) for label in present])
    texts = [
        axes.text(
            *anchor,
            names[label],
            size=10.5,
            weight="bold",
            ha="center",
            va="center",
            color=_look(label)[0],
            path_effects=_HALO,
            zorder=6,
        )
        for label, anchor in zip(present, anchors, strict=True)
    ]
    boxes = [text.get_window_extent() for text in texts]
    sizes = np.array([(box.width + 10, box.height + 4) for box in boxes])
    low, high = axes.get_window_extent().get_points()
    starts = axes.transData.transform(anchors)
    places = place_names(starts, sizes, axes.transData.transform(points), low, high)
    # The part of the line that runs inside the name's box is left out.
    inside = (sizes / 2 / np.maximum(np.abs(places - starts), 1e-9)).min(axis=1, keepdims=True)
    ends = places + np.minimum(inside, 1) * (starts - places)
    to_data = axes.transData.inverted().transform
    for text, place, *line in zip(texts, to_data(places), anchors, to_data(ends), strict=True):
        text.set_position(place)
        axes.plot(*np.stack(line).T, color=text.get_color(), linewidth=1.0, zorder=4)


def _look(label: int) -> tuple[str, str]:
    """Colour and marker of a class: ten colours, then the same with another marker."""
    return style.HUES[label % len(style.HUES)], style.MARKERS[label // len(style.HUES) % len(style.MARKERS)]


def _draw_key(figure: Figure) -> None:
    common = {"marker": "o", "linestyle": "none", "markerfacecolor": style.GREY, "markersize": 7}
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
