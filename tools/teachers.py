"""The teachers' features as tables on the device; a step only picks from them. Missing caches are made first.

Shape legend: n samples, U different names, V views, P prompts a name, C classes, Q prompts a class.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datasets.features import FeatureCache
from datasets.prompts import TEMPLATES, prompts_for
from models.teachers import TEACHERS
from tools.build import build_dataset
from tools.features import make_cache, read_sentences
from tools.protocol import has_quirk
from utils.errors import InputError, check_choice
from utils.log import progress_bar

CACHED = "CachedFeatures"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of its pictures
NAMED = ("type", "model", "pretrained")  # what makes a teacher the one that a cache was made with


class TeacherTables:
    """Image and text features of a data set.

    Args:
        cfg: the whole config.
        dataset: has `ids`, and `features_path` for sections without a path.
        ctx: the run's surroundings.

    Attributes:
        image: (n, V, Di) views of every sample, or None.
        text: (U, P, Dt) prompts of every different name, or None.

    Raises:
        InputError: a cache is missing and no teacher is named that could make it, or it is damaged, lacks a sample or
            was made by another teacher.
    """

    def __init__(self, cfg: Mapping[str, Any], dataset: Any, ctx: Any) -> None:
        teachers = cfg["teachers"]
        self.image = self.text = None
        make_missing(cfg, dataset, ctx)
        if cfg["data"]["on_error"] == "skip":
            leave_out_unseen(cfg, dataset, ctx)
        self.row_of = {key: row for row, key in enumerate(dataset.ids)}
        if teachers["image"] is not None:
            cache = open_cache(cfg, "image", dataset)
            table = cache.image_table(dataset.ids, teachers["image"]["num_views"])
            if teachers["image"]["center"]:
                table = table - table.mean(dim=(0, 1))
            self.image = table.to(ctx.device)
        if teachers["text"] is not None:
            cache = open_cache(cfg, "text", dataset)
            table, rows = cache.name_table(dataset.ids, teachers["text"]["num_prompts"])
            if teachers["text"]["center"]:
                share = rows.bincount(minlength=len(table)).float() / len(rows)
                table = table - (table.mean(dim=1) * share[:, None]).sum(dim=0)
            self.text, self.name_of = table.to(ctx.device), rows.to(ctx.device)

    @property
    def image_dim(self) -> int | None:
        """Di, None without an image teacher."""
        return None if self.image is None else self.image.shape[-1]

    @property
    def text_dim(self) -> int | None:
        """Dt, None without a text teacher."""
        return None if self.text is None else self.text.shape[-1]

    def draw(self, ids: Sequence[str], generator: torch.Generator) -> tuple[Tensor | None, Tensor | None]:
        """A random view and a random prompt of each sample: (B, Di) and (B, Dt)."""
        rows = torch.tensor([self.row_of[key] for key in ids])
        image = None if self.image is None else _draw(self.image, rows.to(self.image.device), generator)
        text = None if self.text is None else _draw(self.text, self.name_of[rows.to(self.text.device)], generator)
        return image, text


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
            f"{type(dataset).__name__} brings no teacher features; make them with scripts/make_teacher_cache.py and "
            "give teachers.image.path and teachers.text.path, or switch a teacher off with teachers.image=null"
        )
    path = Path(path)
    # Features of other pictures, so another file.
    is_apart = teacher["path"] is None and has_quirk(cfg, "bgr_images")
    return path.with_name(f"{path.stem}-published{path.suffix}") if is_apart else path


def open_cache(cfg: Mapping[str, Any], kind: str, dataset: Any) -> FeatureCache:
    """The cache of the `image` or `text` teacher.

    Raises:
        InputError: it is missing, damaged, or was made by another teacher than the section names.
    """
    path, teacher = cache_path(cfg, kind, dataset), cfg["teachers"][kind]
    cache = FeatureCache(path)
    if teacher["type"] == CACHED:
        return cache
    wanted, made = {"type": teacher["type"], **teacher["options"]}, cache.info.get(kind, {})
    for key in NAMED:
        if key in wanted and made and str(wanted[key]) != made.get(key, str(wanted[key])):
            raise InputError(
                f"the {kind} features in '{path}' were made with {key} '{made[key]}', but teachers.{kind} names "
                f"'{wanted[key]}'; give teachers.{kind}.path another file, or change the teacher"
            )
    return cache


def make_missing(cfg: Mapping[str, Any], dataset: Any, ctx: Any) -> None:
    """Runs teachers that the config names once over the whole data set, where their features are not there yet."""
    named = [kind for kind in ("image", "text") if (cfg["teachers"][kind] or {"type": CACHED})["type"] != CACHED]
    missing: dict[Path, list[str]] = {}
    for kind in named:
        path = cache_path(cfg, kind, dataset)
        if not path.is_file():
            missing.setdefault(path, []).append(kind)
    for path, kinds in missing.items():
        if ctx.is_main:
            _make(cfg, path, kinds, ctx)
        while not path.is_file():  # no collective: it would give up before the first process is done
            time.sleep(1)


def _make(cfg: Mapping[str, Any], path: Path, kinds: Sequence[str], ctx: Any) -> None:
    teachers = {kind: build_teacher(cfg, kind).to(ctx.device) for kind in kinds}
    infos = {kind: _describe(cfg["teachers"][kind]) for kind in kinds}
    ctx.logger.info(f"teachers: '{path}' is not there; making it once with {', '.join(map(str, infos.values()))}")
    options = {"images": True} if "image" in kinds else {}
    if "image" in kinds and has_quirk(cfg, "bgr_images"):
        options["bgr"] = True
        for name, values in zip(("mean", "std"), IMAGENET, strict=True):
            getattr(teachers["image"], name).copy_(torch.tensor(values).view(3, 1, 1))
    make_cache(
        path,
        [build_dataset(cfg, split, shots=None, **options) for split in ("pretrain", "test")],
        teachers.get("image"),
        teachers.get("text"),
        num_views=cfg["teachers"]["image"]["num_views"] or 8 if "image" in kinds else 1,
        num_templates=len(TEMPLATES),
        seed=cfg["seed"],
        batch_size=64,
        image_info=infos.get("image"),
        text_info=infos.get("text"),
        progress=progress_bar,
    )


def leave_out_unseen(cfg: Mapping[str, Any], dataset: Any, ctx: Any) -> None:
    """Takes out of the data set what a teacher has no features of, because its picture could not be read."""
    for kind in (kind for kind in ("image", "text") if cfg["teachers"][kind] is not None):
        missing = open_cache(cfg, kind, dataset).missing(kind, dataset.ids)
        if missing:
            ctx.logger.info(f"left out: {len(missing)} shapes without {kind} features, first '{missing[0]}'")
            dataset.leave_out(missing)


def build_teacher(cfg: Mapping[str, Any], kind: str) -> Any:
    """The `image` or `text` teacher itself."""
    return TEACHERS.build({"type": cfg["teachers"][kind]["type"], **cfg["teachers"][kind]["options"]})


def class_prompts(cfg: Mapping[str, Any], dataset: Any, device: torch.device | str = "cpu") -> Tensor:
    """(C, Q, Dt): each class of the data set in each template, from the cache or, where one is named, the teacher.

    Raises:
        InputError: the cache or the teacher cannot be read.
    """
    teacher = cfg["teachers"]["text"]
    if teacher["type"] == CACHED:
        return open_cache(cfg, "text", dataset).class_table(dataset.class_names)
    if has_quirk(cfg, "published_class_names"):
        published = getattr(dataset, "published_class_names", dataset.class_names)
        sentences = [template.format(name) for name in published for template in TEMPLATES]
    else:
        sentences = [sentence for name in dataset.class_texts for sentence in prompts_for(name, TEMPLATES)]
    network = build_teacher(cfg, "text").to(device)
    features = read_sentences(sentences, network, batch_size=256, progress=progress_bar)
    return features.view(len(dataset.class_names), len(TEMPLATES), -1)


def _describe(teacher: Mapping[str, Any]) -> dict[str, str]:
    return {"type": teacher["type"], **teacher["options"], "torch": torch.__version__}


def _draw(table: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    choice = torch.randint(table.shape[1], rows.shape, device=table.device, generator=generator)
    return table[rows, choice]
