"""Pictures of a folder's shapes, and what the teachers make of these and of the shapes' words: one cache beside it."""

import argparse
import importlib.util
from pathlib import Path
from typing import Any

from pointrecon.datasets.folder.folder import Folder
from pointrecon.tools.teachers.cache_command import cache_features
from pointrecon.tools.teachers.offline import IMAGE, LICENCE, PACKAGES, TEXT
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.files.pictures import decode_picture


def save_pictures(data: Folder, out: Path) -> int:
    """Writes the picture of each shape as a PNG below a folder, under the shape's id; returns how many.

    Args:
        data: Opened with `images`.
        out: The folder.

    Raises:
        InputError: It cannot be written.
    """
    from PIL import Image

    for row, picture in enumerate(data.pictures or ()):
        with atomic_write(out / f"{data.ids[row].lstrip('/').replace('..', '__')}.png") as temporary:
            Image.fromarray(decode_picture(picture)).save(temporary)
    return len(data.pictures or ())


def missing_packages() -> list[str]:
    """What the teachers that come in packages lack."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def make_features(root: str, options: dict[str, Any], *, num_views: int, num_templates: int, jobs: int) -> Path:
    """The teacher cache of a folder, as scripts/cache_teacher_features.py makes it with the offline teachers.

    Args:
        root: The folder.
        options: Of the data set: `up`, `table` and their like.
        num_views: Views of a picture, the plain one included.
        num_templates: Sentences for a shape's words.
        jobs: Threads that read pictures.

    Raises:
        InputError: A teacher is not installed, or the file was made of other things.
    """
    args = argparse.Namespace(
        data="Folder",
        data_root=root,
        options={**options, "whole": True},  # a folder without classes has no test part
        splits=["pretrain"],
        out=None,
        overwrite=False,
        image=IMAGE,
        text=TEXT,
        licence=LICENCE,
        views=num_views,
        templates=num_templates,
        seed=0,
        published=False,
        batch_size=64,
        num_workers=jobs,
        device="auto",
    )
    return cache_features(args)[0]
