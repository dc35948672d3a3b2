"""Pictures: decoding of files, which may be made to do harm, and bringing to a size.

Every picture of a stranger is opened by `open_picture`, which names the formats that may be in the file.
Shape legend: H, W pixels, B pictures, S side of a square.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

MAX_PIXELS = 1 << 25  # 33 million; published renderings have 50,000
FORMATS = ("PNG", "WEBP", "JPEG")  # Pillow's other readers are less looked at, and some start programs
_DEEP = 257  # 65,535 / 255: the levels of 16 bits that are one of 8


class PictureError(ValueError):
    """The picture will not decode, or is too large."""


@contextlib.contextmanager
def open_picture(source: Path | bytes, formats: Sequence[str] = FORMATS) -> Iterator["Image"]:
    """Opens a picture; in the block, whatever its decoder raises becomes a PictureError.

    Args:
        source: A file, or what is in one.
        formats: Of Pillow; nothing else is tried, whatever the file's name says.

    Raises:
        PictureError: It is missing, damaged, of another format, or has more than `MAX_PIXELS`.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limits; ours is lower
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            with Image.open(file, formats=list(formats)) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise PictureError(f"it claims {width} x {height} pixels; {MAX_PIXELS:,} are allowed")
                yield picture
    except PictureError:
        raise
    except Exception as error:  # decoders raise whatever their author did not think of: struct.error, zlib.error, ...
        raise PictureError(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def restrained_pillow() -> Iterator[None]:
    """Keeps other libraries' use of Pillow harmless in the block: no program is started, no picture is too large."""
    from PIL import EpsImagePlugin, Image

    before = EpsImagePlugin.gs_binary, Image.MAX_IMAGE_PIXELS
    # Pillow refuses what has twice as many; the type of the binary is that of a name that was not looked for yet.
    EpsImagePlugin.gs_binary, Image.MAX_IMAGE_PIXELS = False, MAX_PIXELS // 2
    try:
        yield
    finally:
        EpsImagePlugin.gs_binary, Image.MAX_IMAGE_PIXELS = before


def decode_picture(source: Path | bytes, formats: Sequence[str] = FORMATS) -> np.ndarray:
    """Decodes a picture: (H, W, 3) uint8, red, green, blue. Of 16 bits the upper 8 are kept, rounded.

    Args:
        source: A file, or what is in one.
        formats: See `open_picture`.

    Raises:
        PictureError: It is missing, damaged, of another format, or has more than `MAX_PIXELS`.
    """
    with open_picture(source, formats) as picture:
        return np.array(to_8_bits(picture).convert("RGB"))


def to_8_bits(picture: "Image") -> "Image":
    """Returns a picture whose values are of 8 bits: Pillow itself cuts greys of 16 bits off at 255.

    Args:
        picture: Of any mode.
    """
    from PIL import Image

    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;"):
        return picture
    values = np.asarray(picture).astype(np.float32)
    levels = np.nan_to_num(values / (_DEEP if picture.mode != "F" else 1.0), nan=0.0)
    return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))


def make_square(images: "Tensor", size: int, interpolation: str = "bicubic") -> "Tensor":
    """Scales the shorter side of pictures to `size` (antialiased) and keeps the middle of the longer one.

    Args:
        images: (B, 3, H, W) RGB in 0..1.
        size: S.
        interpolation: "bicubic" or "bilinear".

    Returns:
        (B, 3, S, S) in 0..1; pictures that are of this size already come back as they are.
    """
    import torch.nn.functional as F  # readers of meshes decode textures, and do without torch

    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    factor = size / min(height, width)
    shape = (max(size, round(height * factor)), max(size, round(width * factor)))
    images = F.interpolate(images, shape, mode=interpolation, antialias=True).clamp(0, 1)
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    return images[..., top : top + size, left : left + size]
