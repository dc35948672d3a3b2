"""Pictures become square: the shorter side is scaled, the middle of the longer one is kept, nothing leaves 0..1."""

import pytest
import torch

from pointrecon.utils.files.resizing import make_square


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
