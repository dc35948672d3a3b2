"""What is done to pictures before a frozen teacher sees them: the published augmentation, on batches.

Shape legend: B pictures, H height, W width, S side of the square that the teacher works on, R side before the crop.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from pointrecon.datasets.images import rand_augment
from pointrecon.utils.files.pictures import make_square

ENLARGED = 256 / 224  # R / S
MIN_AREA = 0.64  # of a crop, relative to the picture
MAX_ASPECT = 4 / 3  # of a crop, either way
NUM_ATTEMPTS = 10  # at a crop that fits; then the whole picture
NUM_DRAWS = 2 * NUM_ATTEMPTS + 3 + rand_augment.NUM_DRAWS
# What a cache notes about its views; another value of one of these makes other views.
AUGMENTATION = {
    "enlarged": round(ENLARGED, 4),
    "min_area": MIN_AREA,
    "max_aspect": round(MAX_ASPECT, 4),
    "flip": 0.5,
    "rand_augment": f"FixMatch n={rand_augment.NUM_OPERATIONS} m={rand_augment.MAGNITUDE}",
    "cutout": round(rand_augment.CUTOUT, 4),
    "draws": f"shake_256(seed/view/id), {NUM_DRAWS} x uint32",
}


def view_draws(seed: int, views: Iterable[tuple[str, int]]) -> Tensor:
    """The random numbers of views: they depend on the seed, the object and the view's number alone.

    Args:
        seed: of all views.
        views: B pairs of an object's id and the number of the view.

    Returns:
        (B, NUM_DRAWS) float32 in 0..1, 1 excluded.
    """
    texts = (f"{seed}/{view}/{name}".encode() for name, view in views)
    data = b"".join(hashlib.shake_256(text).digest(4 * NUM_DRAWS) for text in texts)
    # 24 bits are what a float32 below 1 can hold.
    numbers = (np.frombuffer(data, dtype="<u4") >> 8).astype(np.float32) / np.float32(2**24)
    return torch.from_numpy(numbers.reshape(-1, NUM_DRAWS))


def enlarge(images: Tensor, size: int) -> Tensor:
    """(B, 3, H, W) in 0..1 -> (B, 3, R, R), from which crops of the side S are taken."""
    return make_square(images, round(size * ENLARGED))


def augment_images(images: Tensor, draws: Tensor, size: int) -> Tensor:
    """Random crop, left-right flip, RandAugment: what published pretraining does to the pictures of every step.

    Args:
        images: (B, 3, R, R) RGB in 0..1, as `enlarge` gives them.
        draws: (B, NUM_DRAWS) evenly in 0..1; they decide everything.
        size: S.

    Returns:
        (B, 3, S, S) RGB in 0..1, of 256 levels as a picture file has them.
    """
    draws = draws.cpu()  # one wait for the device instead of one for each operation
    top, left, height, width = crop_boxes(draws, images.shape[-2], images.shape[-1])
    rows = _resize_weights(top, height, images.shape[-2], size, images.device)
    columns = _resize_weights(left, width, images.shape[-1], size, images.device)
    is_flipped = (draws[:, 2 * NUM_ATTEMPTS + 2] < 0.5).to(images.device)
    columns = torch.where(is_flipped[:, None, None], columns.flip(1), columns)
    levels = (images * 255).round()
    # Rounded after each axis, as PIL does.
    levels = (levels @ columns[:, None].transpose(-1, -2)).round_().clamp_(0, 255)
    levels = (rows[:, None] @ levels).round_().clamp_(0, 255)
    return rand_augment.rand_augment(levels, draws[:, 2 * NUM_ATTEMPTS + 3 :]) / 255


def crop_boxes(draws: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B,) top, left, height and width of crops in pixels: evenly drawn area, log-evenly drawn aspect.

    The first of ten attempts that fits is taken; if none does, the whole picture.
    """
    area, aspect = draws[:, : 2 * NUM_ATTEMPTS].view(-1, NUM_ATTEMPTS, 2).double().unbind(dim=2)
    area = height * width * (MIN_AREA + (1 - MIN_AREA) * area)
    aspect = MAX_ASPECT ** (2 * aspect - 1)
    heights, widths = (area / aspect).sqrt().round(), (area * aspect).sqrt().round()
    fits = (heights <= height) & (widths <= width)
    first = fits.long().argmax(dim=1, keepdim=True)  # 0 if none fits
    heights = torch.where(fits.any(dim=1), heights.gather(1, first)[:, 0], height)
    widths = torch.where(fits.any(dim=1), widths.gather(1, first)[:, 0], width)
    place = draws[:, 2 * NUM_ATTEMPTS : 2 * NUM_ATTEMPTS + 2].double()
    top, left = (place[:, 0] * (height - heights + 1)).floor(), (place[:, 1] * (width - widths + 1)).floor()
    return top, left, heights, widths


def _resize_weights(start: Tensor, length: Tensor, full: int, size: int, device: torch.device) -> Tensor:
    """(B, S, full): what each output pixel takes from each input pixel along one axis; antialiased cubic, as PIL."""
    start, length = (x.float().to(device)[:, None, None] for x in (start, length))
    scale = length / size
    output = torch.arange(size, device=device).view(1, -1, 1) + 0.5
    pixel = torch.arange(full, device=device).view(1, 1, -1)
    # Most of the time goes into these (B, S, full) tensors, so they are worked on in place.
    distance = (pixel + 0.5 - (start + output * scale)).div_(scale.clamp(min=1)).abs_()
    near = (1.5 * distance).sub_(2.5).mul_(distance).mul_(distance).add_(1)
    far = (-0.5 * distance).add_(2.5).mul_(distance).sub_(4).mul_(distance).add_(2)
    weights = torch.where(distance < 1, near, far.masked_fill_(distance >= 2, 0))
    weights.masked_fill_((pixel < start) | (pixel >= start + length), 0)
    return weights.div_(weights.sum(dim=2, keepdim=True))
