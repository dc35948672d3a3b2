"""Pictures: three formats, and a limit of pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from pointrecon.utils.files import pictures
from pointrecon.utils.files.pictures import PictureError, decode_picture


def encode(kind, mode="RGB"):
    data = io.BytesIO()
    Image.new(mode, (6, 4), 0 if mode == "L" else (10, 20, 30)).save(data, kind)
    return data.getvalue()


@pytest.mark.parametrize("kind", pictures.FORMATS)
def test_formats(tmp_path, kind):
    pixels = decode_picture(encode(kind))
    assert pixels.shape == (4, 6, 3) and pixels.dtype == np.uint8 and abs(pixels.astype(int) - [10, 20, 30]).max() < 4
    (tmp_path / "a.png").write_bytes(encode(kind))  # what counts is the content
    np.testing.assert_array_equal(decode_picture(tmp_path / "a.png"), pixels)
    assert decode_picture(encode("PNG", "L")).shape == (4, 6, 3)


@pytest.mark.parametrize("data", [b"", b"no picture", encode("PNG")[:-30], encode("GIF"), encode("BMP")])
def test_damage_and_other_formats_are_refused(data):
    with pytest.raises(PictureError):
        decode_picture(data)


def test_size_is_limited(monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 23)
    with pytest.raises(PictureError, match="6 x 4 pixels; 23 are allowed"):
        decode_picture(encode("PNG"))
    with pytest.raises(PictureError, match="FileNotFoundError"):
        decode_picture(tmp_path / "none.png")
