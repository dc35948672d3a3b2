"""What a teacher cache says it was made of, and what a config says it should be made of: the same notes, so that they
can be compared. `datasets.features.MADE_OF` lists the kinds of notes that decide the numbers in the file.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pointrecon.datasets.images.views import AUGMENTATION
from pointrecon.datasets.prompts import TEMPLATES
from pointrecon.datasets.teacher_cache.reader import as_text
from pointrecon.models.teachers.base import Teacher, weights_hash

_LONGEST = 4000  # characters of a note; HDF5 takes 64 KiB of them in all


def image_info(options: Mapping[str, Any], seed: int, is_published: bool) -> dict[str, str]:
    """What image features are made of.

    Args:
        options: The teacher's type and options.
        seed: Of the views.
        is_published: Colours in the order BGR, scaled with ImageNet's statistics (the quirk `bgr_images`).
    """
    transform = {"seed": seed, "published": is_published, **AUGMENTATION}
    return teacher_info(options) | {f"transform.{key}": as_text(value) for key, value in transform.items()}


def picture_info(teacher: Teacher, num_views: int) -> dict[str, str]:
    """What only the making of a cache knows of its image features: how many, and what the network was shown."""
    shown = {
        "num_views": num_views,
        "size": teacher.image_size,
        "interpolation": teacher.interpolation,
        "mean": [round(float(x), 6) for x in teacher.mean.flatten()],
        "std": [round(float(x), 6) for x in teacher.std.flatten()],
    }
    dtype = next((x.dtype for x in teacher.parameters()), torch.float32)
    notes = {"precision": str(dtype).removeprefix("torch."), "torch": str(torch.__version__)}
    return {f"transform.{key}": as_text(value) for key, value in shown.items()} | notes


def text_info(options: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, str]:
    """What text features are made of.

    Args:
        options: The teacher's type and options.
        class_names: Of the data set.
    """
    version = hashlib.sha256("\n".join(TEMPLATES).encode()).hexdigest()[:16]
    classes = ", ".join(class_names)
    if len(classes) > _LONGEST:
        classes = f"{len(class_names)} classes {hashlib.sha256(classes.encode()).hexdigest()[:16]}"
    return teacher_info(options) | {"prompts.version": version, "prompts.classes": classes}


def sentence_info(num_templates: int) -> dict[str, str]:
    """What only the making of a cache knows of its text features."""
    return {"prompts.templates": f"{num_templates} of {len(TEMPLATES)}", "torch": str(torch.__version__)}


def teacher_info(options: Mapping[str, Any]) -> dict[str, str]:
    """The teacher: its type, its options and, where its weights are files on this machine, their hash."""
    info = {f"teacher.{key}": as_text(value) for key, value in options.items()}
    digest = weights_hash(options.get("pretrained"))
    return info if digest is None else info | {"teacher.weights_sha256": digest}
