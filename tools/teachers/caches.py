"""The cache files of a run's teachers: where they are, what they must be made of, and making those that are missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.prompts import TEMPLATES
from pointrecon.datasets.teacher_cache.reader import REMEDY, FeatureCache
from pointrecon.models.teachers import TEACHERS
from pointrecon.models.teachers.base import OPTION
from pointrecon.tools.build import build_dataset
from pointrecon.tools.context import Surroundings
from pointrecon.tools.protocol import has_quirk
from pointrecon.tools.settings import Settings, TeacherSettings
from pointrecon.tools.teachers.cache_info import image_info, picture_info, sentence_info, teacher_info, text_info
from pointrecon.tools.teachers.make_cache import Progress, make_cache, silent
from pointrecon.tools.teachers.work import NUM_VIEWS, PictureWork, SampleWork, TextWork
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.log import progress_bar

CACHED = "CachedFeatures"
KINDS = ("image", "text")  # the teachers that every config names
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of its pictures


def names_of(cfg: Settings) -> list[str]:
    """The teachers that are switched on, in the order of the config."""
    return [name for name, teacher in cfg["teachers"].items() if teacher]


def kind_of(cfg: Settings, name: str) -> str:
    """What a teacher is shown: `image`, `text`, or the whole `sample`."""
    return name if name in KINDS else section_of(cfg, name)["reads"]


def section_of(cfg: Settings, name: str) -> TeacherSettings:
    """The section of a teacher that is switched on."""
    section = cfg["teachers"][name]
    assert section is not None, f"teachers.{name} is switched off"
    return section


def is_live(cfg: Settings, name: str) -> bool:
    """Whether a teacher runs in every step.

    Raises:
        InputError: it is to run, but none is named.
    """
    teacher = cfg["teachers"][name]
    if teacher is None or teacher["cached"]:
        return False
    if teacher["type"] == CACHED:
        raise InputError(
            f"teachers.{name}.cached is false, but teachers.{name}.type is {CACHED}, which only reads a file; name the "
            f"teacher that is to run, one of: {', '.join(TEACHERS.names())}"
        )
    return True


def is_carried(cfg: Settings, name: str, dataset: PointCloudDataset) -> bool:
    """Whether the features come with the samples, and no file of others is named."""
    teacher = cfg["teachers"][name]
    is_plain = teacher is not None and teacher["type"] == CACHED and teacher["path"] is None
    return is_plain and not is_live(cfg, name) and name in dataset.carried


def is_read_from_file(cfg: Settings, name: str, dataset: PointCloudDataset) -> bool:
    """Whether the features are in a cache."""
    return bool(cfg["teachers"][name]) and not is_live(cfg, name) and not is_carried(cfg, name, dataset)


def cache_path(cfg: Settings, name: str, dataset: PointCloudDataset) -> Path:
    """Where the features of a teacher are: the section's path, or the data set's own.

    Raises:
        InputError: neither is known.
    """
    teacher = section_of(cfg, name)
    if ":" not in teacher["type"]:
        check_choice(f"teachers.{name}.type", teacher["type"], (CACHED, *TEACHERS.names()))
    path = teacher["path"] or dataset.features_path
    if path is None:
        raise InputError(
            f"{type(dataset).__name__} brings no teacher features; make them with scripts/cache_teacher_features.py "
            f"and give teachers.{name}.path, or switch that teacher off with teachers.{name}=null"
        )
    path = Path(path)
    if teacher["path"] is not None:
        return path
    # Features of other pictures, so another file; and a file for each further teacher.
    apart = "-published" * has_quirk(cfg, "bgr_images") + f"-{name}" * (name not in KINDS)
    return path.with_name(f"{path.stem}{apart}{path.suffix}")


def open_cache(cfg: Settings, name: str, dataset: PointCloudDataset) -> FeatureCache:
    """The cache of a teacher.

    Raises:
        InputError: it is missing, damaged, or was made of other things than the section names.
    """
    path = cache_path(cfg, name, dataset)
    cache = FeatureCache(path)
    differences = cache.differences(kind_of(cfg, name), wanted_info(cfg, name, dataset))
    if differences:
        raise InputError(
            f"the {name} features in '{path}' were made of other things than the config names ("
            f"{'; '.join(differences)}); change the config, give teachers.{name}.path another file, or {REMEDY}"
        )
    return cache


def wanted_info(cfg: Settings, name: str, dataset: PointCloudDataset) -> dict[str, str]:
    """What the config says about the features of a teacher, as a cache notes it."""
    teacher, kind = section_of(cfg, name), kind_of(cfg, name)
    options = {"type": teacher["type"], **teacher["options"]}
    if kind == "text":
        return {} if teacher["type"] == CACHED else text_info(options, dataset.class_names)
    if kind == "sample":
        return {} if teacher["type"] == CACHED else teacher_info(options)
    info = image_info(options, teacher["seed"], has_quirk(cfg, "bgr_images"))
    # Who names no teacher takes what is in the file, but not pictures in other colours.
    return {"transform.published": info["transform.published"]} if teacher["type"] == CACHED else info


def make_missing(cfg: Settings, dataset: PointCloudDataset, ctx: Surroundings) -> None:
    """Runs teachers that the config names once over the whole data set, where their features are not there yet.

    All processes of the run share the work, and none of them waits in a collective, which would give up too early.

    Raises:
        InputError: two teachers that are shown the same are to write one file.
    """
    missing: dict[Path, dict[str, str]] = {}
    for name in (name for name in names_of(cfg) if is_read_from_file(cfg, name, dataset)):
        path, kind = cache_path(cfg, name, dataset), kind_of(cfg, name)
        if section_of(cfg, name)["type"] != CACHED and not path.is_file():
            other = missing.setdefault(path, {}).setdefault(kind, name)
            if other != name:
                raise InputError(
                    f"teachers.{other} and teachers.{name} would both write '{path}'; give them two files as path"
                )
    for path, names in missing.items():
        named = ", ".join(f"{section_of(cfg, name)['type']} ({name})" for name in names.values())
        ctx.logger.info(f"teachers: '{path}' is not there; making it once with {named}")
        options = all_picture_options(cfg) if "image" in names else {}
        datasets = [build_dataset(cfg, split, shots=None, **options) for split in ("pretrain", "test")]
        works = {kind: _work(cfg, name, dataset, ctx) for kind, name in names.items()}
        make_cache(path, datasets, **works, progress=progress_of(ctx))


def _work(cfg: Settings, name: str, dataset: PointCloudDataset, ctx: Surroundings) -> Any:
    teacher, section, kind = build_teacher(cfg, name, ctx.device), section_of(cfg, name), kind_of(cfg, name)
    info = wanted_info(cfg, name, dataset)
    if kind == "sample":
        return SampleWork(teacher, info)
    if kind == "text":
        return TextWork(teacher, len(TEMPLATES), info | sentence_info(len(TEMPLATES)))
    num_views = NUM_VIEWS if section["num_views"] is None else section["num_views"]
    info |= picture_info(teacher, num_views)
    return PictureWork(teacher, num_views, section["seed"], info, num_threads=cfg["num_workers"])


def leave_out_unseen(cfg: Settings, dataset: PointCloudDataset, ctx: Surroundings) -> None:
    """Takes out of the data set what a cache has no features of, because it could not be read."""
    for name in (name for name in names_of(cfg) if is_read_from_file(cfg, name, dataset)):
        missing = open_cache(cfg, name, dataset).missing(kind_of(cfg, name), dataset.ids)
        if missing:
            ctx.logger.info(f"left out: {len(missing)} samples without {name} features, first '{missing[0]}'")
            dataset.leave_out(missing)


def build_teacher(cfg: Settings, name: str, device: torch.device | str = "cpu") -> Any:
    """A teacher itself, as `place_teacher` leaves it.

    Raises:
        InputError: there is none of this type, its options are wrong, or its weights cannot be had.
    """
    section, kind = section_of(cfg, name), kind_of(cfg, name)
    with naming_key(f"teachers.{name}"):
        teacher = TEACHERS.build({"type": section["type"], **section["options"]})
    return place_teacher(teacher, kind, device, has_quirk(cfg, "bgr_images"))


def place_teacher(teacher: Any, kind: str, device: torch.device | str, is_published: bool = False) -> Any:
    """Puts a teacher on a device: what sees pictures computes in half precision on a GPU, what reads does not.

    Args:
        teacher: the teacher.
        kind: what it is shown: `image`, `text` or `sample`.
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


def all_picture_options(cfg: Settings) -> dict[str, bool]:
    """The options with which the data set gives what an image teacher is shown."""
    return {"images": True, "bgr": True} if has_quirk(cfg, "bgr_images") else {"images": True}


def progress_of(ctx: Surroundings) -> Progress:
    """A bar in the main process, nothing in the others."""
    return progress_bar if ctx.is_main else silent


@contextmanager
def naming_key(key: str) -> Iterator[None]:
    """Has an error about a teacher's weights or options say which key of the config it is about."""
    try:
        yield
    except InputError as error:
        text = str(error).replace(OPTION, f"{key}.options.pretrained")
        raise InputError(text if text != str(error) else f"{key}: {error}") from error
