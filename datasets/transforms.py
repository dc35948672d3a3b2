"""What happens to a batch of clouds before the network sees it: sampling, unit sphere, augmentation.

Everything is batched, runs on the clouds' device and draws from the generator it is given, each row of a batch as
`utils.seed.draw_rows` says.
Shape legend: B batch, N stored points, n sampled points, ch channels of a point: 3, or 6 with red, green and blue.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pointrecon.extensions import ops
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.seed import draw_rows

SAMPLINGS = ("random", "first", "fps")
_CUT = 3  # standard deviations beyond which no cloud is tilted


def join_colors(batch: Mapping[str, Any], device: torch.device | str, *, is_colored: bool) -> Tensor:
    """The clouds of a batch on the device, float32: (B, N, 6) with colours, if there are some and they are wanted."""
    points = batch["points"].to(device, non_blocking=True).float()
    if not is_colored or "colors" not in batch:
        return points
    colors = batch["colors"].to(device, non_blocking=True)
    levels = 1.0 if colors.is_floating_point() else 255.0
    return torch.cat([points, colors.float() / levels], dim=-1)


class PointTransform:
    """Sampling, then the unit sphere, then augmentation, in this order as published.

    Args:
        num_points: n, points per cloud after sampling.
        sampling: `random` (a fresh subset each time), `first` (the first n stored points) or `fps`.
        normalize: centre on the mean and scale the farthest point to radius 1.
        augment: the section `data.augment`, or None.
        pool: farthest points that are picked before `random` draws among them; None: it draws among all stored ones.
        is_fps_ordered: the stored points are in the order of farthest point sampling, so the first ones are those.
        color_fill: each colour of clouds whose colours are dropped.
    """

    def __init__(
        self,
        num_points: int,
        sampling: str = "random",
        normalize: bool = True,
        augment: Mapping | None = None,
        pool: int | None = None,
        is_fps_ordered: bool = False,
        color_fill: float = 0.4,
    ) -> None:
        check_choice("data.eval_sampling", sampling, SAMPLINGS)
        if pool is not None and pool < num_points:
            raise InputError(
                f"data.sample_pool is {pool}, but data.num_points={num_points} are drawn from it; give at least that"
            )
        self.num_points = num_points
        self.sampling = sampling
        self.normalize = normalize
        self.augment = augment
        self.pool = pool
        self.is_fps_ordered = is_fps_ordered
        self.color_fill = color_fill

    def __call__(self, points: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, N, ch) -> (B, n, ch) float32; colours ride along with their points.

        Raises:
            InputError: the clouds have fewer than n points.
        """
        if points.shape[1] < self.num_points:
            raise InputError(
                f"data.num_points is {self.num_points}, but the data set's clouds have {points.shape[1]} points; "
                f"give data.num_points={points.shape[1]} or less"
            )
        return self.vary(self.choose_pool(points.float()), generator)

    def choose_pool(self, points: Tensor) -> Tensor:
        """(B, N, ch) -> (B, pool or N, ch), the points that `vary` draws among: always the same ones."""
        if self.pool and self.sampling == "random" and points.shape[1] > self.pool:
            return sample(points, self.pool, "first" if self.is_fps_ordered else "fps")
        return points

    def vary(self, points: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, pool or N, ch) -> (B, n, ch), drawn anew each time."""
        sampling = "first" if self.is_fps_ordered and self.sampling == "fps" else self.sampling
        with torch.autocast(points.device.type, enabled=False):  # coordinates keep their digits
            points = sample(points, self.num_points, sampling, generator)
            points, colors = points[..., :3], points[..., 3:]
            if self.normalize:
                points = normalize_unit_sphere(points)
            if self.augment is not None:
                points = augment(points, self.augment, generator)
            if not colors.shape[-1]:
                return points
            if self.augment is not None:
                colors = drop_colors(colors, self.augment["color_drop"], self.color_fill, generator)
            return torch.cat([points, colors], dim=-1)


def sample(points: Tensor, num_points: int, how: str, generator: torch.Generator | None = None) -> Tensor:
    """(B, N, ch) -> (B, num_points, ch); `how` is one of `SAMPLINGS`."""
    if how == "first" or (how == "fps" and points.shape[1] == num_points):
        return points[:, :num_points]
    if how == "fps":
        return ops.gather(points, ops.fps(points[..., :3].contiguous(), num_points))
    # The first points of a random order: sorting these alone is a quarter of the work.
    order = _uniform(points, points.shape[:2], generator).topk(num_points, dim=1, largest=False).indices
    return ops.gather(points, order)


def normalize_unit_sphere(points: Tensor) -> Tensor:
    """(B, n, 3) -> (B, n, 3): mean at the origin, farthest point at radius 1."""
    points = points - points.mean(dim=1, keepdim=True)
    return points / points.norm(dim=-1).amax(dim=1).clamp_min(1e-9)[:, None, None]


def augment(points: Tensor, options: Mapping, generator: torch.Generator | None = None) -> Tensor:
    """(B, n, 3) -> (B, n, 3): the section `data.augment`, drawn anew for each cloud. y is up."""
    if options["tilt"]:
        points = points @ _tilts(points, options["tilt"], generator)
    if options["rotate_y"]:
        points = points @ _turns_about_y(points, options["rotate_y"], generator)
    if options["flip_x"]:
        is_mirrored = _uniform(points, (len(points), 1, 1), generator) < options["flip_x"]
        mirrored = torch.cat([-points[..., :1], points[..., 1:]], dim=-1)  # no constant, which a GPU would wait for
        points = torch.where(is_mirrored, mirrored, points)
    low, high = options["scale"]
    if (low, high) != (1.0, 1.0):
        num_factors = 1 if options["scale_isotropic"] else 3
        points = points * (low + (high - low) * _uniform(points, (len(points), 1, num_factors), generator))
    if options["shift"]:
        points = points + options["shift"] * (2 * _uniform(points, (len(points), 1, 3), generator) - 1)
    if options["jitter"]:
        points = points + options["jitter"] * _draw(torch.randn, points, points.shape, generator)
    if options["dropout"]:
        points = _drop_points(points, options["dropout"], generator)
    if options["up"] == "-x":
        points = torch.stack([-points[..., 1], points[..., 0], points[..., 2]], dim=-1)
    return points


def drop_colors(colors: Tensor, probability: float, fill: float, generator: torch.Generator | None = None) -> Tensor:
    """(B, n, 3) -> (B, n, 3): some clouds become grey."""
    if not probability:
        return colors
    is_dropped = _uniform(colors, (len(colors), 1, 1), generator) < probability
    return colors.masked_fill(is_dropped, fill)


def _turns_about_y(points: Tensor, degrees: float, generator: torch.Generator | None) -> Tensor:
    """(B, 3, 3) rotations by an angle within +-degrees."""
    angle = (2 * _uniform(points, (len(points),), generator) - 1) * math.radians(degrees)
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([cos, zero, -sin, zero, one, zero, sin, zero, cos], dim=-1).view(-1, 3, 3)


def _tilts(points: Tensor, degrees: float, generator: torch.Generator | None) -> Tensor:
    """(B, 3, 3) small rotations about x, then y, then z, each by a normal angle."""
    angles = math.radians(degrees) * _draw(torch.randn, points, (len(points), 3), generator).clamp(-_CUT, _CUT)
    cos, sin = angles.cos(), angles.sin()
    zero, one = torch.zeros_like(cos[:, 0]), torch.ones_like(cos[:, 0])
    (cx, cy, cz), (sx, sy, sz) = cos.unbind(1), sin.unbind(1)
    turns = (
        (one, zero, zero, zero, cx, sx, zero, -sx, cx),
        (cy, zero, -sy, zero, one, zero, sy, zero, cy),
        (cz, sz, zero, -sz, cz, zero, zero, zero, one),
    )
    about_x, about_y, about_z = (torch.stack(turn, dim=-1).view(-1, 3, 3) for turn in turns)
    return about_x @ about_y @ about_z


def _drop_points(points: Tensor, largest_part: float, generator: torch.Generator | None) -> Tensor:
    """Moves up to that part of the points onto the first point, which keeps the count (PointNet++'s point dropout)."""
    rate = largest_part * _uniform(points, (len(points), 1, 1), generator)
    is_dropped = _uniform(points, (*points.shape[:2], 1), generator) < rate
    return torch.where(is_dropped, points[:, :1], points)


def _uniform(like: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return _draw(torch.rand, like, shape, generator)


def _draw(how: Callable, like: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    options = {"device": like.device, "dtype": like.dtype, "generator": generator}
    return draw_rows(lambda rows: how((rows, *shape[1:]), **options), shape[0])
