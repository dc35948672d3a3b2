"""What an image teacher is shown: plain pictures as they are, the others augmented, whatever the precision around."""

import pytest
import torch

from pointrecon.datasets.images.views import augment_images, enlarge, view_draws
from pointrecon.models.teachers.base import FrozenTeacher
from pointrecon.tools.teachers.image_input import encode_views


class Eye(FrozenTeacher):
    """Its feature is the picture."""

    def __init__(self):
        super().__init__(torch.nn.Identity(), 3 * 16 * 16, 16)

    def forward_image(self, images):
        return images.flatten(1)


IMAGES = torch.rand(4, 3, 20, 26, generator=torch.Generator().manual_seed(0))
DRAWS = view_draws(0, [(str(row), 1) for row in range(4)])


def test_each_picture_is_shown_as_asked_for():
    teacher, is_plain = Eye(), torch.tensor([True, False, False, True])
    features = encode_views(teacher, IMAGES, DRAWS, is_plain)
    varied = augment_images(enlarge(IMAGES, 16), DRAWS, 16).flatten(1)
    torch.testing.assert_close(features[~is_plain], varied[~is_plain], rtol=0, atol=1.01 / 255)
    torch.testing.assert_close(features[is_plain], teacher.encode_image(IMAGES)[is_plain])
    only_plain = encode_views(teacher, IMAGES, DRAWS, torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(only_plain, teacher.encode_image(IMAGES))


def test_the_students_autocast_does_not_reach_the_pictures():
    is_plain = torch.zeros(4, dtype=torch.bool)
    outside = encode_views(Eye(), IMAGES, DRAWS, is_plain)
    with torch.autocast("cpu", torch.bfloat16):
        inside = encode_views(Eye(), IMAGES, DRAWS, is_plain)
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


def test_features_can_be_targets():
    features = encode_views(Eye(), IMAGES, DRAWS, torch.zeros(4, dtype=torch.bool))
    student = torch.zeros_like(features, requires_grad=True)
    (student * features).sum().backward()
    assert not features.is_inference() and student.grad is not None


@pytest.mark.gpu
def test_a_gpu_is_shown_the_same():
    is_plain = torch.tensor([True, False, False, False])
    here, there = (encode_views(Eye().to(device), IMAGES, DRAWS, is_plain).cpu() for device in ("cpu", "cuda"))
    assert (here - there).abs().mean() < 1e-3  # the rounding of a level may differ
