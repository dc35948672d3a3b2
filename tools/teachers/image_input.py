"""What an image teacher is shown: pictures as they are, and in the published augmentation. Caches and live teachers
both come here, so they hold the same.

Shape legend: B pictures, H height, W width, S side of the square that the teacher works on, D feature width.
"""

import torch
from torch import Tensor

from pointrecon.datasets.images.views import augment_images, enlarge
from pointrecon.models.teachers.base import Teacher


def encode_views(teacher: Teacher, images: Tensor, draws: Tensor, is_plain: Tensor) -> Tensor:
    """Features of one view of each picture.

    Args:
        teacher: sees pictures.
        images: (B, 3, H, W) RGB in 0..1, on any device.
        draws: (B, NUM_DRAWS) in 0..1: they decide the views that are not plain.
        is_plain: (B,) bool: the picture as it is.

    Returns:
        (B, D) float32, on the teacher's device.
    """
    plain, varied = (x.nonzero()[:, 0] for x in (is_plain.cpu(), ~is_plain.cpu()))
    size, device = teacher.image_size, teacher.device
    assert size is not None, "a teacher of pictures has an image_size"
    # The student's autocast would crop in bfloat16.
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        images = images.to(device, non_blocking=True)
        if not len(varied):
            return teacher.encode_image(images)
        shown = images.new_empty(len(images), 3, size, size)
        shown[varied.to(device)] = augment_images(enlarge(images[varied.to(device)], size), draws.cpu()[varied], size)
        if len(plain):
            shown[plain.to(device)] = teacher.fit(images[plain.to(device)])
    return teacher.encode_image(shown)
