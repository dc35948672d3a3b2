"""Every operation gives the levels that PIL gives, and the draws alone decide which pictures get which."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from pointrecon.datasets.images import rand_augment as ours
from pointrecon.datasets.images.rand_augment import NUM_DRAWS, OPERATIONS, rand_augment

SIZE = 48
PIL_OPERATIONS = {
    ours._keep: lambda picture, v, sign: picture,
    ours._auto_contrast: lambda picture, v, sign: ImageOps.autocontrast(picture),
    ours._brightness: lambda picture, v, sign: ImageEnhance.Brightness(picture).enhance(v * 0.9 / 10 + 0.05),
    ours._colour: lambda picture, v, sign: ImageEnhance.Color(picture).enhance(v * 0.9 / 10 + 0.05),
    ours._contrast: lambda picture, v, sign: ImageEnhance.Contrast(picture).enhance(v * 0.9 / 10 + 0.05),
    ours._sharpness: lambda picture, v, sign: ImageEnhance.Sharpness(picture).enhance(v * 0.9 / 10 + 0.05),
    ours._equalize: lambda picture, v, sign: ImageOps.equalize(picture),
    ours._posterize: lambda picture, v, sign: ImageOps.posterize(picture, int(v * 4 / 10) + 4),
    ours._solarize: lambda picture, v, sign: ImageOps.solarize(picture, 256 - int(v * 256 / 10)),
    ours._rotate: lambda picture, v, sign: picture.rotate(sign * int(v * 30 / 10)),
    ours._shear_x: lambda picture, v, sign: move(picture, 1, sign * v * 0.3 / 10, 0, 0, 1, 0),
    ours._shear_y: lambda picture, v, sign: move(picture, 1, 0, 0, sign * v * 0.3 / 10, 1, 0),
    ours._translate_x: lambda picture, v, sign: move(picture, 1, 0, int(sign * v * 0.3 / 10 * SIZE), 0, 1, 0),
    ours._translate_y: lambda picture, v, sign: move(picture, 1, 0, 0, 0, 1, int(sign * v * 0.3 / 10 * SIZE)),
}


def move(picture, *matrix):
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix)


def pictures(count, seed=0):
    """Smooth ones, with few levels in some channels."""
    noise = torch.rand(count, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
    levels = (F.interpolate(noise, (SIZE, SIZE), mode="bicubic").clamp(0, 1) * 255).round()
    levels[0, 0] = 7  # one level only
    levels[1, 1] = (levels[1, 1] > 100) * 60.0
    return levels


def to_pil(levels):
    return Image.fromarray(levels.permute(1, 2, 0).byte().numpy())


def from_pil(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_operation_is_that_of_pil(operation):
    strength, sign = torch.arange(1, 10).repeat(2).double(), torch.tensor([-1.0, 1.0]).repeat_interleave(9).double()
    levels = pictures(18)
    changed = operation(levels, strength, sign)
    for row in range(18):
        expected = PIL_OPERATIONS[operation](to_pil(levels[row]), int(strength[row]), int(sign[row]))
        torch.testing.assert_close(changed[row], from_pil(expected), rtol=0, atol=0)


def test_two_operations_and_a_grey_square():
    """The same draws, read one picture at a time."""
    levels, draws = pictures(24, 1), torch.rand(24, NUM_DRAWS, generator=torch.Generator().manual_seed(2))
    changed = rand_augment(levels, draws)
    for row in range(24):
        picture, draw = to_pil(levels[row]), draws[row].double().tolist()
        for which, strength, is_applied, sign in (draw[:4], draw[4:8]):
            if is_applied < 0.5:
                operation = PIL_OPERATIONS[OPERATIONS[int(which * 14)]]
                picture = operation(picture, 1 + int(strength * 9), -1 if sign < 0.5 else 1)
        side = round(SIZE * 16 / 224)
        first = [int(max(0, place * SIZE - side / 2)) for place in draw[8:]]
        last = [min(SIZE, place + side) for place in first]
        ImageDraw.Draw(picture).rectangle((*first, *last), (127, 127, 127))
        torch.testing.assert_close(changed[row], from_pil(picture), rtol=0, atol=0)


def test_a_picture_does_not_depend_on_its_batch():
    levels, draws = pictures(12, 3), torch.rand(12, NUM_DRAWS, generator=torch.Generator().manual_seed(4))
    alone = torch.cat([rand_augment(levels[row : row + 1], draws[row : row + 1]) for row in range(12)])
    torch.testing.assert_close(rand_augment(levels, draws), alone, rtol=0, atol=0)


def test_every_operation_is_drawn_as_often():
    draws = torch.rand(20_000, NUM_DRAWS, generator=torch.Generator().manual_seed(5))
    counts = (draws[:, 0] * len(OPERATIONS)).long().bincount(minlength=len(OPERATIONS))
    assert len(OPERATIONS) == 14 and (counts - 20_000 / 14).abs().max() < 150
