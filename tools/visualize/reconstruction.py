"""The sheet of reconstructions: what the network was given, what it saw of that, what it made of the rest.

Shape legend: n shapes, N points, G groups, K points per group, M masked groups.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pointrecon.tools.visualize import style
from pointrecon.tools.visualize.files import read_arrays
from pointrecon.tools.visualize.render import project, render
from pointrecon.utils.errors import InputError

SHAPES = {
    "points": "nN3",
    "patches": "nGK3",
    "centers": "nG3",
    "mask": "nG",
    "rebuilt": "nMK3",
    "names": "n",
}
MAX_SHAPES = 8
RADIUS = 0.034  # of a ball; shapes fill the unit sphere
_CELL, _GAP, _NAME, _HEADER, _EDGE = 1.68, 0.42, 0.34, 0.32, 0.3  # inches
# Low and high end of a shape, so that height can be seen as well.
_GIVEN = np.array([[0.42, 0.47, 0.54], [0.74, 0.78, 0.83]])
_VISIBLE = np.array([[0.08, 0.31, 0.58], [0.36, 0.66, 0.93]])
_REBUILT = np.array([[0.84, 0.36, 0.04], [1.00, 0.72, 0.30]])


def split_patches(
    patches: np.ndarray, centers: np.ndarray, mask: np.ndarray, rebuilt: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Puts the patches of one shape where they belong.

    Args:
        patches: (G, K, 3) relative to their centres.
        centers: (G, 3).
        mask: (G,) bool, True = masked.
        rebuilt: (M, K, 3) of the masked patches, relative to their centres, in the order of the groups.

    Returns:
        visible points ((G - M) * K, 3) and rebuilt points (M * K, 3).
    """
    visible = patches[~mask] + centers[~mask][:, None]
    return visible.reshape(-1, 3), (rebuilt + centers[mask][:, None]).reshape(-1, 3)


def chamfer_distances(data: Mapping[str, np.ndarray]) -> np.ndarray:
    """How far the rebuilt patches of each shape are from the hidden ones.

    Args:
        data: arrays of reconstructions.npz.

    Returns:
        (n,): the mean over the hidden patches of the squared Chamfer distance, which pretraining minimises.
    """
    hidden = np.stack([patches[mask] for patches, mask in zip(data["patches"], data["mask"], strict=True)])
    rebuilt = data["rebuilt"].astype(np.float64)
    # (n, M, K, K) squared distances of rebuilt to hidden points
    squares = ((rebuilt[:, :, :, None] - hidden[:, :, None]) ** 2).sum(axis=-1)
    return (squares.min(axis=3).mean(axis=2) + squares.min(axis=2).mean(axis=2)).mean(axis=1)


def draw_reconstructions(source: Path, target: Path, *, has_title: bool = True) -> list[Path]:
    """Draws reconstructions.npz, below each shape its name and its Chamfer distance.

    Args:
        source: the file.
        target: the picture.
        has_title: whether it says what it shows.

    Raises:
        InputError: the file is missing or broken.
    """
    data = read_arrays(source, SHAPES)
    mask, rebuilt = data["mask"], data["rebuilt"]
    if mask.dtype != bool:
        raise InputError(f"'{source}': mask must be bool, True = masked, but is {mask.dtype}")
    if (mask.sum(axis=1) != rebuilt.shape[1]).any():
        raise InputError(
            f"'{source}': mask hides {mask.sum(axis=1).min()} to {mask.sum(axis=1).max()} patches per shape, "
            f"but rebuilt has {rebuilt.shape[1]}"
        )
    total, (num_groups, num_masked) = len(mask), (mask.shape[1], rebuilt.shape[1])
    count = min(total, MAX_SHAPES)
    across = 1 if count == 1 else 2
    frames = [frame_of(points) for points in data["points"][:count]]
    # A row is as high as its highest shape.
    bands = [max(band for _, band in frames[start : start + across]) * _CELL for start in range(0, count, across)]
    width = across * 3 * _CELL + (across - 1) * _GAP + 2 * _EDGE
    height = style.TITLE_HEIGHT + _HEADER + sum(bands) + len(bands) * _NAME + 0.1
    distances = chamfer_distances({name: array[:count] for name, array in data.items()})
    with style.picture(target, width, height, has_title=has_title) as figure:
        hidden = f"{num_masked} of {num_groups} patches hidden ({num_masked / num_groups:.0%})"
        shown = f"{count} of {total} shapes" if count < total else f"{count} shape{'s' * (count > 1)}"
        subtitle = f"{shown}, {hidden}; numbers: squared Chamfer distance x 1000"
        style.add_title(figure, "Reconstruction of hidden patches", subtitle)
        lefts = [_EDGE + column * (3 * _CELL + _GAP) for column in range(across)]
        for left in lefts:
            _draw_header(figure, left, height - style.TITLE_HEIGHT)
        for index, (frame, _) in enumerate(frames):
            row, column = divmod(index, across)
            bottom = height - style.TITLE_HEIGHT - _HEADER - sum(bands[: row + 1]) - row * _NAME
            label = f"{style.shorten(str(data['names'][index]), 52)}   {1000 * distances[index]:.2f}"
            arrays = (data[name][index] for name in ("patches", "centers", "mask", "rebuilt"))
            clouds = (data["points"][index], *split_patches(*arrays))
            _draw_shape(figure, (lefts[column], bottom, bands[row]), frame, clouds, label)
    return [target]


def _draw_header(figure: Figure, left: float, top: float) -> None:
    width, height = figure.get_size_inches()
    heads = (("input", style.MUTED), ("visible patches", style.BLUE), ("reconstruction", style.ORANGE))
    for column, (text, color) in enumerate(heads):
        x = (left + (column + 0.5) * _CELL) / width
        figure.text(x, (top - 0.05) / height, text, color=color, weight="bold", ha="center", va="top")


def _draw_shape(
    figure: Figure,
    place: tuple[float, float, float],
    frame: tuple[float, float, float],
    clouds: tuple[np.ndarray, np.ndarray, np.ndarray],
    label: str,
) -> None:
    """One shape: three pictures seen from the same place, and what is said of it.

    Args:
        figure: where.
        place: left edge, bottom and height in inches.
        frame: what is seen, on the screen.
        clouds: input, visible and rebuilt points.
        label: goes below.
    """
    points, visible, rebuilt = clouds
    left, bottom, band = place
    floor, ceiling = points[:, 1].min(), points[:, 1].max()

    def shade(cloud: np.ndarray, ramp: np.ndarray) -> np.ndarray:
        level = np.clip((cloud[:, 1:2] - floor) / max(ceiling - floor, 1e-6), 0, 1)
        return ramp[0] + level * (ramp[1] - ramp[0])

    seen, made = shade(visible, _VISIBLE), shade(rebuilt, _REBUILT)
    both = (np.concatenate([visible, rebuilt]), np.concatenate([seen, made]))
    for column, (cloud, colors) in enumerate(((points, shade(points, _GIVEN)), (visible, seen), both)):
        # The picture is square and may reach beyond its row; there it is transparent.
        axes = style.place(figure, left + column * _CELL, bottom + (band - _CELL) / 2, _CELL, _CELL)
        axes.axis("off")
        image = render(cloud, colors, frame, floor, side=int(1.5 * _CELL * style.DPI), radius=RADIUS)
        axes.imshow(image, interpolation="hanning")
    width, height = figure.get_size_inches()
    figure.text((left + 1.5 * _CELL) / width, bottom / height, label, ha="center", va="top")


def frame_of(points: np.ndarray) -> tuple[tuple[float, float, float], float]:
    """The square on the screen that the shape and its shadow fill, and the part of its height that they take."""
    ground = points.copy()
    ground[:, 1] = points[:, 1].min()
    screen = project(np.concatenate([points, ground]))[:, :2]
    low, high = screen.min(axis=0), screen.max(axis=0)
    center, size = (low + high) / 2, np.maximum(high - low, 1e-3)
    side = 1.18 * size.max()
    return (float(center[0]), float(center[1]), float(side)), float((size[1] + 0.18 * size.max()) / side)
