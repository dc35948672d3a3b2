"""RandAugment in the form of FixMatch, as published ReCon uses it, on batches: two operations, then a grey square.

Shape legend: b pictures of a batch that get the same operation, S side. Levels are whole numbers 0..255 held as
float32, and every operation gives the levels that PIL gives. A strength is a whole number 1..9.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_OPERATIONS = 2
MAGNITUDE = 10  # strengths are drawn below this
NUM_DRAWS = 4 * NUM_OPERATIONS + 2
CUTOUT = 16 / 224  # side of the grey square relative to the picture's; 16 pixels as published
GREY = 127.0
Operation = Callable[[Tensor, Tensor, Tensor], Tensor]


def rand_augment(levels: Tensor, draws: Tensor) -> Tensor:
    """Changes pictures by two random operations, each with probability 1/2, and covers a random square with grey.

    Args:
        levels: (B, 3, S, S).
        draws: (B, NUM_DRAWS) float, evenly in 0..1, on the CPU; they decide everything.

    Returns:
        (B, 3, S, S) levels.
    """
    levels = levels.clone()
    for draw in draws[:, :-2].split(4, dim=1):
        which, strength, is_applied, sign = draw.double().unbind(dim=1)
        which = (which * len(OPERATIONS)).long().masked_fill(is_applied >= 0.5, OPERATIONS.index(_keep))
        strength = 1 + (strength * (MAGNITUDE - 1)).floor()
        sign = torch.where(sign < 0.5, -1.0, 1.0).double()
        for number, operation in enumerate(OPERATIONS):
            chosen = (which == number).nonzero()[:, 0]
            if len(chosen) and operation is not _keep:
                rows, *values = (x.to(levels.device) for x in (chosen, strength[chosen], sign[chosen]))
                levels[rows] = operation(levels[rows], *values)
    return _cut_out(levels, draws[:, -2:].to(levels.device))


def _cut_out(levels: Tensor, draws: Tensor) -> Tensor:
    size = levels.shape[-1]
    side = round(CUTOUT * size)
    first = (draws * size - side / 2).clamp(min=0).floor()
    last = (first + side).clamp(max=size)  # included
    place = torch.arange(size, device=levels.device)
    is_inside = (place >= first[..., None]) & (place <= last[..., None])
    is_covered = is_inside[:, 1, :, None] & is_inside[:, 0, None, :]
    return levels.masked_fill(is_covered[:, None], GREY)


def _keep(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return levels


def _brightness(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return _blend(torch.zeros_like(levels), levels, strength)


def _colour(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return _blend(_grey(levels), levels, strength)


def _contrast(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return _blend((_grey(levels).mean(dim=(1, 2, 3), keepdim=True) + 0.5).floor(), levels, strength)


def _sharpness(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    kernel = levels.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    smooth = levels.clone()  # the border stays as it is
    inner = F.conv2d(levels, kernel.expand(3, 1, 3, 3), groups=3)
    smooth[..., 1:-1, 1:-1] = (inner + 0.5).floor().clamp(0, 255)
    return _blend(smooth, levels, strength)


def _blend(plain: Tensor, levels: Tensor, strength: Tensor) -> Tensor:
    """The published factors are all below 1: darker, greyer, flatter, softer."""
    factor = 0.09 * strength + 0.05
    return (plain + factor.float().view(-1, 1, 1, 1) * (levels - plain)).floor().clamp(0, 255)


def _grey(levels: Tensor) -> Tensor:
    """(b, 3, S, S) -> (b, 1, S, S): the luma of ITU-R 601 in PIL's 16-bit arithmetic."""
    weights = levels.new_tensor([19595.0, 38470.0, 7471.0]).view(1, 3, 1, 1)
    return (((levels * weights).sum(dim=1, keepdim=True) + 32768) / 65536).floor()


def _auto_contrast(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    low, high = levels.amin(dim=(2, 3), keepdim=True), levels.amax(dim=(2, 3), keepdim=True)
    scale = 255 / (high - low).clamp(min=1).double()
    stretched = (levels * scale - low * scale).floor().clamp(0, 255)
    return torch.where(high > low, stretched, levels.double()).to(levels.dtype)


def _equalize(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    flat = levels.long().flatten(2)
    counts = torch.zeros(*flat.shape[:2], 256, dtype=torch.long, device=levels.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    last = counts.gather(2, flat.amax(dim=2, keepdim=True))
    step = (flat.shape[2] - last) // 255
    before = counts.cumsum(dim=2) - counts
    table = (step // 2 + before) // step.clamp(min=1)
    same = torch.arange(256, device=levels.device).expand_as(table)
    return _look_up(levels, torch.where(step > 0, table.clamp(max=255), same))


def _posterize(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    bits = (strength * 4 / MAGNITUDE).floor() + 4
    step = (2 ** (8 - bits)).to(levels.dtype).view(-1, 1, 1, 1)
    return (levels / step).floor() * step


def _solarize(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    threshold = 256 - (strength * 256 / MAGNITUDE).floor()
    return torch.where(levels >= threshold.view(-1, 1, 1, 1), 255 - levels, levels)


def _rotate(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    angle = torch.deg2rad(sign * (strength * 30 / MAGNITUDE).floor())
    cos, sin, middle = angle.cos(), angle.sin(), levels.shape[-1] / 2
    shift_x, shift_y = middle - cos * middle + sin * middle, middle - sin * middle - cos * middle
    return _move(levels, cos, -sin, shift_x, sin, cos, shift_y)


def _shear_x(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return _move(levels, 1, sign * 0.3 * strength / MAGNITUDE, 0, 0, 1, 0)


def _shear_y(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return _move(levels, 1, 0, 0, sign * 0.3 * strength / MAGNITUDE, 1, 0)


def _translate_x(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return _move(levels, 1, 0, sign * _shift(levels, strength), 0, 1, 0)


def _translate_y(levels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return _move(levels, 1, 0, 0, 0, 1, sign * _shift(levels, strength))


def _shift(levels: Tensor, strength: Tensor) -> Tensor:
    return (0.3 * strength / MAGNITUDE * levels.shape[-1]).floor()


def _move(levels: Tensor, *matrix: Tensor | float) -> Tensor:
    """The pixel at (x, y) comes from (a x + b y + c, d x + e y + f), to the nearest pixel; black from outside."""
    size, device = levels.shape[-1], levels.device
    coefficients = (torch.as_tensor(x, dtype=torch.float64, device=device).reshape(-1, 1, 1) for x in matrix)
    a, b, c, d, e, f = coefficients
    # Whole numbers of 1/65536 pixel, as in PIL: the same pixel wins a tie.
    a, b, c, d, e, f = ((x * 65536 + 0.5).floor().long() for x in (a, b, c + (a + b) / 2, d, e, f + (d + e) / 2))
    place = torch.arange(size, device=device)
    x, y = place.view(1, 1, -1), place.view(1, -1, 1)
    column, row = ((z >> 16).expand(len(levels), size, size) for z in (a * x + b * y + c, d * x + e * y + f))
    is_outside = (column < 0) | (column >= size) | (row < 0) | (row >= size)
    place = (row * size + column).masked_fill(is_outside, 0).flatten(1)[:, None].expand(-1, 3, -1)
    return levels.flatten(2).gather(2, place).view_as(levels).masked_fill(is_outside[:, None], 0)


def _look_up(levels: Tensor, table: Tensor) -> Tensor:
    return table.to(levels.dtype).gather(2, levels.long().flatten(2)).view_as(levels)


OPERATIONS: tuple[Operation, ...] = (
    _auto_contrast,
    _brightness,
    _colour,
    _contrast,
    _equalize,
    _keep,
    _posterize,
    _rotate,
    _sharpness,
    _shear_x,
    _shear_y,
    _solarize,
    _translate_x,
    _translate_y,
)
