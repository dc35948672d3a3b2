"""Pictures: which formats are decoded, how many pixels, how many bits; squares keep the middle and stay in 0..1."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pointrecon.utils.files import pictures
from pointrecon.utils.files.pictures import PictureError, decode_picture, make_square, open_picture
from tests import ROOT


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


@pytest.mark.parametrize("value", [0, 1, 300, 40_000, 65_535])
def test_greys_of_16_bits_keep_their_brightness(value):
    data = io.BytesIO()
    Image.fromarray(np.full((4, 6), value, np.uint16)).save(data, "PNG")
    pixels = decode_picture(data.getvalue())
    assert pixels.shape == (4, 6, 3) and abs(pixels / 255 - value / 65_535).max() <= 0.5 / 255


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F"])
def test_every_mode_becomes_8_bits(mode):
    picture = pictures.to_8_bits(Image.new(mode, (3, 2)))
    assert np.asarray(picture.convert("RGB")).shape == (2, 3, 3)


def test_what_starts_a_program_is_not_tried(monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **kwargs: pytest.fail("Ghostscript was started"))
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"
    with pytest.raises(PictureError, match="UnidentifiedImageError"):
        decode_picture(text)


def test_what_a_decoder_raises_in_the_block_is_told(tmp_path):
    with pytest.raises(PictureError, match="ZeroDivisionError"), open_picture(encode("PNG")):
        1 / 0  # noqa: B018


def test_one_function_opens_all_pictures():
    """Whoever else calls Image.open lets every reader of Pillow loose on the file."""
    folders = ("utils", "datasets", "models", "tools", "extensions", "scripts")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")] + [ROOT / "main.py"]
    calls = [path.relative_to(ROOT).as_posix() for path in sources if "Image.open(" in path.read_text(encoding="utf-8")]
    assert calls == ["utils/files/pictures.py"]


def test_a_picture_of_the_size_comes_back_as_it_is():
    images = torch.rand(2, 3, 8, 8)
    assert make_square(images, 8) is images


def test_the_middle_of_the_longer_side_is_kept():
    images = torch.zeros(1, 3, 16, 48)
    images[..., 16:32] = 1
    assert (make_square(images, 8)[..., 1:-1] > 0.99).all()
    assert (make_square(images.transpose(-1, -2), 8)[..., 1:-1, :] > 0.99).all()


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_edges_do_not_overshoot(interpolation):
    images = torch.zeros(1, 3, 10, 10)
    images[..., 5:] = 1
    square = make_square(images, 32, interpolation)
    assert square.shape == (1, 3, 32, 32) and square.min() == 0 and square.max() == 1
