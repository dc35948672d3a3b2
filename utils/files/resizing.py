"""Pictures brought to a size. Shape legend: B pictures, H height, W width, S side of a square."""

import torch.nn.functional as F
from torch import Tensor


def make_square(images: Tensor, size: int, interpolation: str = "bicubic") -> Tensor:
    """Scales the shorter side of pictures to `size` (antialiased) and keeps the middle of the longer one.

    Args:
        images: (B, 3, H, W) RGB in 0..1.
        size: S.
        interpolation: "bicubic" or "bilinear".

    Returns:
        (B, 3, S, S) in 0..1; pictures that are of this size already come back as they are.
    """
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    factor = size / min(height, width)
    shape = (max(size, round(height * factor)), max(size, round(width * factor)))
    images = F.interpolate(images, shape, mode=interpolation, antialias=True).clamp(0, 1)
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    return images[..., top : top + size, left : left + size]
