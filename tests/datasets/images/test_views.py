"""The published augmentation: crops as torchvision cuts and PIL scales them; views depend on their key alone."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from pointrecon.datasets.images import rand_augment
from pointrecon.datasets.images.views import NUM_ATTEMPTS, NUM_DRAWS, augment_images, crop_boxes, enlarge, view_draws

SIZE = 56
FLIP = 2 * NUM_ATTEMPTS + 2


def draws(count, seed=0):
    return torch.rand(count, NUM_DRAWS, generator=torch.Generator().manual_seed(seed))


def without_rand_augment(values):
    """Draws with which RandAugment changes nothing but the grey square, in the corner at the lower right."""
    values = values.clone()
    values[:, FLIP + 1 :] = 0.999999
    return values


def pictures(count):
    noise = torch.rand(count, 3, 7, 7, generator=torch.Generator().manual_seed(1))
    return (F.interpolate(noise, (64, 64), mode="bicubic").clamp(0, 1) * 255).round() / 255


def test_crop_and_flip_are_those_of_pil():
    images, values = pictures(20), without_rand_augment(draws(20))
    varied = (augment_images(images, values, SIZE) * 255).round()
    top, left, height, width = (x.int().tolist() for x in crop_boxes(values, 64, 64))
    for row in range(20):
        picture = Image.fromarray((images[row] * 255).round().permute(1, 2, 0).byte().numpy())
        box = (left[row], top[row], left[row] + width[row], top[row] + height[row])
        # Rows first, as PIL did when the published code was written; today it begins with the axis that is less work.
        narrow = picture.crop(box).resize((SIZE, height[row]), Image.Resampling.BICUBIC)
        expected = np.array(narrow.resize((SIZE, SIZE), Image.Resampling.BICUBIC)).astype(np.float32)
        expected = expected[:, ::-1] if values[row, FLIP] < 0.5 else expected
        shown = varied[row].permute(1, 2, 0).numpy()
        expected, shown = expected[: SIZE // 2, : SIZE // 2], shown[: SIZE // 2, : SIZE // 2]  # no grey square here
        assert np.abs(shown - expected).max() <= 2  # the weights of PIL are whole numbers, on both axes
        assert (shown == expected).mean() > 0.98


def test_boxes_have_the_published_areas_and_shapes():
    top, left, height, width = crop_boxes(draws(5000), 256, 256)
    area, aspect = height * width / 256**2, width / height
    torch.manual_seed(0)
    get = RandomResizedCrop.get_params
    theirs = torch.tensor([get(torch.empty(3, 256, 256), (0.64, 1.0), (3 / 4, 4 / 3)) for _ in range(2000)]).double()
    assert 0.635 < area.min() and area.max() <= 1 and 0.745 < aspect.min() and aspect.max() < 1.345
    assert abs(float(area.mean() - (theirs[:, 2] * theirs[:, 3]).mean() / 256**2)) < 0.008
    assert abs(float(aspect.log().mean())) < 0.01
    assert abs(float(top.mean() - theirs[:, 0].mean())) < 1.5 and abs(float(left.mean() - theirs[:, 1].mean())) < 1.5
    assert top.min() >= 0 and (top + height).max() == 256 and left.min() >= 0 and (left + width).max() == 256


def test_a_picture_that_no_crop_fits_is_kept_whole():
    top, left, height, width = crop_boxes(draws(50), 20, 200)
    is_whole = (height == 20) & (width == 200)
    assert is_whole.all() and (top == 0).all() and (left == 0).all()


def test_half_of_the_pictures_are_flipped():
    images = torch.zeros(400, 3, 16, 16)
    images[..., 8:] = 1
    varied = augment_images(images, without_rand_augment(draws(400)), 14)
    flipped = int((varied[..., :6, :6].mean(dim=(1, 2, 3)) > varied[..., :6, 8:].mean(dim=(1, 2, 3))).sum())
    assert 160 < flipped < 240


def test_views_are_pictures_that_differ():
    views = augment_images(pictures(1).expand(60, -1, -1, -1), draws(60), SIZE)
    assert views.shape == (60, 3, SIZE, SIZE) and views.min() >= 0 and views.max() <= 1
    assert len({view.numpy().tobytes() for view in views}) == 60


def test_a_view_does_not_depend_on_its_batch():
    images, values = pictures(9), draws(9)
    alone = torch.cat([augment_images(images[row : row + 1], values[row : row + 1], SIZE) for row in range(9)])
    torch.testing.assert_close(augment_images(images, values, SIZE), alone, rtol=0, atol=1.01 / 255)


def test_draws_depend_on_seed_object_and_view_alone():
    keys = [("a", 1), ("a", 2), ("b", 1)]
    values = view_draws(0, keys)
    assert values.shape == (3, NUM_DRAWS) and values.dtype == torch.float32
    assert 0 <= values.min() and values.max() < 1
    torch.testing.assert_close(view_draws(0, keys[::-1]), values.flip(0), rtol=0, atol=0)
    others = torch.cat([values, view_draws(1, keys)])
    assert len({row.numpy().tobytes() for row in others}) == 6
    many = view_draws(0, [("x", view) for view in range(2000)])
    assert (many.mean(dim=0) - 0.5).abs().max() < 0.04


def test_the_draws_stay_what_they_were():
    """Caches say which seed made them; another function of the seed would make other views."""
    expected = torch.tensor([0.7415471077, 0.7466596961, 0.3493594527])
    torch.testing.assert_close(view_draws(0, [("chair", 1)])[0, :3], expected, rtol=0, atol=1e-7)


def test_pictures_are_enlarged_before_the_crop():
    assert enlarge(torch.rand(1, 3, 100, 80), 224).shape == (1, 3, 256, 256)
    assert NUM_DRAWS == 23 + rand_augment.NUM_DRAWS
