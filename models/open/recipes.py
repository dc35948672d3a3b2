"""How each encoder wants its clouds: axes, centre, scale, colours and number of points.

Shape legend: N points of a cloud, n points after the recipe.
"""

from dataclasses import dataclass

import numpy as np

from pointrecon.utils.errors import InputError, check_choice

AXES = {
    "as stored": np.eye(3),
    # Not a turn but a mirror image, in its training and its tests alike.
    "y and z swapped": np.array([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]]),
}
NO_RADIUS = 1e-6  # below, OpenShape takes a cloud for empty


@dataclass(frozen=True)
class Recipe:
    """From a cloud with +y up to what an encoder was trained on.

    Attributes:
        axes: A key of `AXES`.
        num_points: n; of larger clouds as many are drawn without replacement, and their order is kept.
        fill: What each channel of the colour is where a cloud has none.
        is_refilled: A smaller cloud is drawn from with replacement until it has n points; otherwise it stays as it is.
        has_guard: A cloud without extent becomes all zeros; otherwise it is refused.
    """

    axes: str = "as stored"
    num_points: int = 10_000
    fill: float = 0.4
    is_refilled: bool = False
    has_guard: bool = False

    def __post_init__(self) -> None:
        check_choice("axes", self.axes, AXES)

    def prepare(
        self, points: np.ndarray, colors: np.ndarray | None = None, *, seed: int = 0, least: int = 1
    ) -> np.ndarray:
        """Makes the input of one cloud.

        Args:
            points: (N, 3) in any units, +y up.
            colors: (N, 3) RGB, integers in 0..255 or floats in 0..1; None: filled.
            seed: Of the draw, where there is one.
            least: Points that the encoder's patches need; a smaller cloud is drawn from with replacement.

        Returns:
            (n, 6) float32: coordinates about their mean in the unit sphere, and colours in 0..1.

        Raises:
            InputError: The cloud is empty, not finite, without extent, or its colours do not fit.
        """
        points = np.asarray(points)
        if points.ndim != 2 or points.shape[1] != 3 or not len(points):
            raise InputError(f"a cloud is of shape {points.shape}, but must be (N, 3) with at least one point")
        if not np.isfinite(points).all():
            raise InputError("a cloud has NaN or infinite coordinates; leave it out")
        rgb = fit_colors(colors, len(points), self.fill)
        rows = self._draw(len(points), seed, least)
        places = points[rows].astype(np.float64) @ AXES[self.axes].T
        places -= places.mean(0)
        radius = float(np.sqrt(np.square(places).sum(1).max()))
        if radius >= NO_RADIUS or (radius > 0 and not self.has_guard):
            places /= radius
        elif self.has_guard:
            places[:] = 0
        else:
            raise InputError("a cloud has no extent: all of its points lie in one place; leave it out")
        return np.concatenate([places, rgb[rows]], axis=1).astype(np.float32)

    def _draw(self, count: int, seed: int, least: int) -> np.ndarray:
        random = np.random.RandomState(seed)
        if count > self.num_points:
            return np.sort(random.permutation(count)[: self.num_points])
        wanted = self.num_points if self.is_refilled else max(count, least)
        if count == wanted:
            return np.arange(count)
        if self.is_refilled:
            return random.randint(0, count, wanted)
        return np.concatenate([np.arange(count), random.randint(0, count, wanted - count)])


def fit_colors(colors: np.ndarray | None, count: int, fill: float) -> np.ndarray:
    """Colours in 0..1 for every point.

    Args:
        colors: (count, 3) integers in 0..255 or floats in 0..1, or None.
        count: Of points.
        fill: In place of None.

    Raises:
        InputError: Another shape, or values outside of the range.
    """
    if colors is None:
        return np.full((count, 3), fill, np.float32)
    colors = np.asarray(colors)
    if colors.shape != (count, 3):
        raise InputError(f"colours are of shape {colors.shape}, but {count} points need ({count}, 3)")
    top = 255 if np.issubdtype(colors.dtype, np.integer) else 1
    values = colors.astype(np.float32)
    if not np.isfinite(values).all() or values.min(initial=0) < 0 or values.max(initial=0) > top * (1 + 1e-3):
        raise InputError(
            f"colours lie in {values.min():.3g}..{values.max():.3g}, but {colors.dtype} ones must lie in 0..{top}; "
            "give integers in 0..255 or floats in 0..1"
        )
    return (values / top).clip(0, 1)
