"""Decoding of pictures, which may be of any size and may be made to do harm.

Shape legend: H, W pixels.
"""

import io
import warnings
from pathlib import Path

import numpy as np

MAX_PIXELS = 1 << 25  # 33 million; published renderings have 50,000
FORMATS = ("PNG", "WEBP", "JPEG")  # Pillow's other readers are less looked at, and some start programs


class PictureError(ValueError):
    """The picture will not decode, or is too large."""


def decode_picture(source: Path | bytes) -> np.ndarray:
    """Decodes a picture: (H, W, 3) uint8, red, green, blue.

    Args:
        source: A file, or what is in one.

    Raises:
        PictureError: It is missing, damaged, of another format than `FORMATS`, or has more than `MAX_PIXELS`.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limits; ours is lower
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise PictureError(f"it claims {width} x {height} pixels; {MAX_PIXELS:,} are allowed")
                return np.array(picture.convert("RGB"))
    except PictureError:
        raise
    except Exception as error:  # decoders raise whatever their author did not think of: struct.error, zlib.error, ...
        raise PictureError(f"{type(error).__name__}: {error}") from error
