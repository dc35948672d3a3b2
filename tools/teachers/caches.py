"""The cache files of a run's teachers: where they are, what they must be made of, and making those that are missing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pointrecon.datasets.prompts import TEMPLATES
from pointrecon.datasets.teacher_cache.reader import REMEDY, FeatureCache
from pointrecon.models.teachers import TEACHERS
from pointrecon.tools.build import build_dataset
from pointrecon.tools.protocol import has_quirk
from pointrecon.tools.teachers.cache_info import image_info, picture_info, sentence_info, text_info
from pointrecon.tools.teachers.make_cache import Progress, make_cache, silent
from pointrecon.tools.teachers.work import NUM_VIEWS, PictureWork, TextWork
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.log import progress_bar

CACHED = "CachedFeatures"
KINDS = ("image", "text")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of its pictures


def is_live(cfg: Mapping[str, Any], kind: str) -> bool:
    """Whether the `image` or `text` teacher runs in every step.

    Raises:
        InputError: it is to run, but none is named.
    """
    teacher = cfg["teachers"][kind]
    if teacher is None or teacher["cached"]:
        return False
    if teacher["type"] == CACHED:
        raise InputError(
            f"teachers.{kind}.cached is false, but teachers.{kind}.type is {CACHED}, which only reads a file; name the "
            f"teacher that is to run, one of: {', '.join(TEACHERS.names())}"
        )
    return True


def is_carried(cfg: Mapping[str, Any], kind: str, dataset: Any) -> bool:
    """Whether the `image` or `text` features come with the samples, and no file of others is named."""
    teacher = cfg["teachers"][kind]
    is_plain = teacher is not None and teacher["type"] == CACHED and teacher["path"] is None
    return is_plain and not is_live(cfg, kind) and kind in getattr(dataset, "carried", {})


def is_read_from_file(cfg: Mapping[str, Any], kind: str, dataset: Any) -> bool:
    """Whether the `image` or `text` features are in a cache."""
    return bool(cfg["teachers"][kind]) and not is_live(cfg, kind) and not is_carried(cfg, kind, dataset)


def cache_path(cfg: Mapping[str, Any], kind: str, dataset: Any) -> Path:
    """Where the features of the `image` or `text` teacher are: the section's path, or the data set's own.

    Raises:
        InputError: neither is known.
    """
    teacher = cfg["teachers"][kind]
    check_choice(f"teachers.{kind}.type", teacher["type"], (CACHED, *TEACHERS.names()))
    path = teacher["path"] or getattr(dataset, "features_path", None)
    if path is None:
        raise InputError(
            f"{type(dataset).__name__} brings no teacher features; make them with scripts/cache_teacher_features.py "
            "and give teachers.image.path and teachers.text.path, or switch a teacher off with teachers.image=null"
        )
    path = Path(path)
    # Features of other pictures, so another file.
    is_apart = teacher["path"] is None and has_quirk(cfg, "bgr_images")
    return path.with_name(f"{path.stem}-published{path.suffix}") if is_apart else path


def open_cache(cfg: Mapping[str, Any], kind: str, dataset: Any) -> FeatureCache:
    """The cache of the `image` or `text` teacher.

    Raises:
        InputError: it is missing, damaged, or was made of other things than the section names.
    """
    path = cache_path(cfg, kind, dataset)
    cache = FeatureCache(path)
    differences = cache.differences(kind, wanted_info(cfg, kind, dataset))
    if differences:
        raise InputError(
            f"the {kind} features in '{path}' were made of other things than the config names ("
            f"{'; '.join(differences)}); change the config, give teachers.{kind}.path another file, or {REMEDY}"
        )
    return cache


def wanted_info(cfg: Mapping[str, Any], kind: str, dataset: Any) -> dict[str, str]:
    """What the config says about the features of the `image` or `text` teacher, as a cache notes it."""
    teacher = cfg["teachers"][kind]
    options = {"type": teacher["type"], **teacher["options"]}
    if kind == "text":
        return {} if teacher["type"] == CACHED else text_info(options, dataset.class_names)
    info = image_info(options, teacher["seed"], has_quirk(cfg, "bgr_images"))
    # Who names no teacher takes what is in the file, but not pictures in other colours.
    return {"transform.published": info["transform.published"]} if teacher["type"] == CACHED else info


def make_missing(cfg: Mapping[str, Any], dataset: Any, ctx: Any) -> None:
    """Runs teachers that the config names once over the whole data set, where their features are not there yet.

    All processes of the run share the work, and none of them waits in a collective, which would give up too early.
    """
    missing: dict[Path, list[str]] = {}
    for kind in (kind for kind in KINDS if is_read_from_file(cfg, kind, dataset)):
        path = cache_path(cfg, kind, dataset)
        if cfg["teachers"][kind]["type"] != CACHED and not path.is_file():
            missing.setdefault(path, []).append(kind)
    for path, kinds in missing.items():
        named = ", ".join(f"{cfg['teachers'][kind]['type']} ({kind})" for kind in kinds)
        ctx.logger.info(f"teachers: '{path}' is not there; making it once with {named}")
        options = all_picture_options(cfg) if "image" in kinds else {}
        datasets = [build_dataset(cfg, split, shots=None, **options) for split in ("pretrain", "test")]
        works = [_work(cfg, kind, dataset, ctx) if kind in kinds else None for kind in KINDS]
        make_cache(path, datasets, *works, progress=progress_of(ctx))


def _work(cfg: Mapping[str, Any], kind: str, dataset: Any, ctx: Any) -> PictureWork | TextWork:
    teacher, section = build_teacher(cfg, kind, ctx.device), cfg["teachers"][kind]
    info = wanted_info(cfg, kind, dataset)
    if kind == "text":
        return TextWork(teacher, len(TEMPLATES), info | sentence_info(len(TEMPLATES)))
    num_views = NUM_VIEWS if section["num_views"] is None else section["num_views"]
    info |= picture_info(teacher, num_views)
    return PictureWork(teacher, num_views, section["seed"], info, num_threads=cfg["num_workers"])


def leave_out_unseen(cfg: Mapping[str, Any], dataset: Any, ctx: Any) -> None:
    """Takes out of the data set what a cache has no features of, because its picture could not be read."""
    for kind in (kind for kind in KINDS if is_read_from_file(cfg, kind, dataset)):
        missing = open_cache(cfg, kind, dataset).missing(kind, dataset.ids)
        if missing:
            ctx.logger.info(f"left out: {len(missing)} shapes without {kind} features, first '{missing[0]}'")
            dataset.leave_out(missing)


def build_teacher(cfg: Mapping[str, Any], kind: str, device: torch.device | str = "cpu") -> Any:
    """The `image` or `text` teacher itself, as `place_teacher` leaves it."""
    options = {"type": cfg["teachers"][kind]["type"], **cfg["teachers"][kind]["options"]}
    return place_teacher(TEACHERS.build(options), kind, device, has_quirk(cfg, "bgr_images"))


def place_teacher(teacher: Any, kind: str, device: torch.device | str, is_published: bool = False) -> Any:
    """Puts a teacher on a device: what sees pictures computes in half precision on a GPU, what reads does not.

    Args:
        teacher: the teacher.
        kind: `image` or `text`.
        device: where to.
        is_published: scale pictures with ImageNet's statistics, whatever the network was trained with.
    """
    teacher = teacher.to(device)
    if kind == "image":
        if torch.device(device).type == "cuda":
            teacher.network.half()
        if is_published:
            for name, values in zip(("mean", "std"), IMAGENET, strict=True):
                getattr(teacher, name).copy_(torch.tensor(values).view(3, 1, 1))
    return teacher


def all_picture_options(cfg: Mapping[str, Any]) -> dict[str, bool]:
    """The options with which the data set gives what an image teacher is shown."""
    return {"images": True, "bgr": True} if has_quirk(cfg, "bgr_images") else {"images": True}


def progress_of(ctx: Any) -> Progress:
    """A bar in the main process, nothing in the others."""
    return progress_bar if ctx.is_main else silent
