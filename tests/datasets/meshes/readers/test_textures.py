"""Textures: which formats are decoded, how bright greys of 16 bits are, and what is no picture."""

import io

import numpy as np
import pytest
from PIL import Image

from pointrecon.datasets.meshes.readers.files import FolderFiles
from pointrecon.datasets.meshes.readers.textures import FORMATS, MAX_SIDE, load_texture


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(tmp_path, kind):
    Image.new("RGB", (6, 4), (255, 0, 51)).save(tmp_path / "skin.png", kind)  # what counts is the content
    texture = load_texture(FolderFiles(tmp_path), "skin.png")
    assert texture.shape == (4, 6, 4) and np.abs(texture[..., :3] - [1, 0, 0.2]).max() < 0.03


def test_large_textures_are_made_smaller_and_other_endings_are_found(tmp_path):
    Image.new("L", (1024, 512), 102).save(tmp_path / "skin.TGA")
    texture = load_texture(FolderFiles(tmp_path), "skin.dds")
    assert texture.shape == (MAX_SIDE // 2, MAX_SIDE, 4) and np.allclose(texture[0, 0], [0.4, 0.4, 0.4, 1])


def test_greys_of_16_bits_keep_their_brightness(tmp_path):
    Image.fromarray(np.full((4, 6), 40_000, np.uint16)).save(tmp_path / "skin.png")
    assert np.abs(load_texture(FolderFiles(tmp_path), "skin.png")[..., :3] - 0.6104).max() < 0.002


def test_what_starts_a_program_is_not_tried(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **kwargs: pytest.fail("Ghostscript was started"))
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"
    (tmp_path / "skin.png").write_bytes(text)
    assert load_texture(FolderFiles(tmp_path), "skin.png") is None


def test_no_files_no_picture_and_half_a_picture(tmp_path):
    assert load_texture(None, "skin.png") is None and load_texture(FolderFiles(tmp_path), "skin.png") is None
    data = io.BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (50, 50, 3), dtype=np.uint8)).save(data, "PNG")
    (tmp_path / "half.png").write_bytes(data.getvalue()[:2000])
    assert load_texture(FolderFiles(tmp_path), "half.png") is None
