"""The teachers of a run: their features from caches, made first where they are missing, or the teachers themselves."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pointrecon.datasets.prompts import TEMPLATES, prompts_for
from pointrecon.tools.protocol import has_quirk
from pointrecon.tools.teachers.caches import (
    CACHED,
    KINDS,
    all_picture_options,
    build_teacher,
    is_carried,
    is_live,
    leave_out_unseen,
    make_missing,
    open_cache,
    progress_of,
)
from pointrecon.tools.teachers.make_cache import read_sentences
from pointrecon.tools.teachers.sources import CachedImages, CachedText, CarriedFeatures, LiveImages, LiveText
from pointrecon.utils.errors import InputError
from pointrecon.utils.log import progress_bar


class Teachers:
    """What the image and the text teacher say about the samples of a batch.

    Args:
        cfg: the whole config.
        dataset: has `ids` and `names`, and `features_path` for sections without a path; gives pictures where
            `picture_options` asks for them.
        ctx: the run's surroundings.

    Attributes:
        sources: `image` and `text` of `tools.teacher_sources`, those of them that are switched on.

    Raises:
        InputError: a cache is missing and no teacher is named that could make it, or it is damaged, lacks a sample or
            was made of other things than the config names; or a live teacher cannot be had.
    """

    def __init__(self, cfg: Mapping[str, Any], dataset: Any, ctx: Any) -> None:
        make_missing(cfg, dataset, ctx)
        if cfg["data"]["on_error"] == "skip":
            leave_out_unseen(cfg, dataset, ctx)
        is_looked_up = any(cfg["teachers"][kind] and not is_carried(cfg, kind, dataset) for kind in KINDS)
        self.row_of = {key: row for row, key in enumerate(dataset.ids)} if is_looked_up else {}
        open_source = {"image": open_images, "text": open_text}
        self.sources = {
            kind: open_carried(cfg, kind, dataset, ctx)
            if is_carried(cfg, kind, dataset)
            else open_source[kind](cfg, dataset, ctx)
            for kind in KINDS
            if cfg["teachers"][kind]
        }

    @property
    def image_dim(self) -> int | None:
        """Width of the image features, None without an image teacher."""
        return self.sources["image"].dim if "image" in self.sources else None

    @property
    def text_dim(self) -> int | None:
        """Width of the text features, None without a text teacher."""
        return self.sources["text"].dim if "text" in self.sources else None

    def draw(self, batch: Mapping[str, Any], generator: torch.Generator) -> tuple[Tensor | None, Tensor | None]:
        """A random view and a random prompt of each sample: (B, Di) and (B, Dt)."""
        rows = torch.tensor([self.row_of.get(key, -1) for key in batch["id"]])
        image, text = (
            self.sources[kind].draw(batch, rows, generator) if kind in self.sources else None for kind in KINDS
        )
        return image, text


def picture_options(cfg: Mapping[str, Any]) -> dict[str, bool]:
    """The options with which the data set gives what a live image teacher is shown."""
    return all_picture_options(cfg) if is_live(cfg, "image") else {}


def open_images(cfg: Mapping[str, Any], dataset: Any, ctx: Any) -> CachedImages | LiveImages:
    """The source of image features that the section `teachers.image` describes."""
    teacher = cfg["teachers"]["image"]
    if is_live(cfg, "image"):
        if teacher["num_views"] is not None and teacher["num_views"] < 1:
            raise InputError(f"teachers.image.num_views is {teacher['num_views']}, but must be at least 1, or null")
        network, progress = build_teacher(cfg, "image", ctx.device), progress_of(ctx)
        return LiveImages(network, dataset, teacher["num_views"], teacher["seed"], teacher["center"], progress)
    cache = open_cache(cfg, "image", dataset)
    table = cache.image_table(dataset.ids, teacher["num_views"], cache.image_dtype)
    return CachedImages(table.to(ctx.device), teacher["center"])


def open_text(cfg: Mapping[str, Any], dataset: Any, ctx: Any) -> CachedText | LiveText:
    """The source of text features that the section `teachers.text` describes."""
    teacher = cfg["teachers"]["text"]
    if is_live(cfg, "text"):
        if teacher["num_prompts"] is not None and not 1 <= teacher["num_prompts"] <= len(TEMPLATES):
            raise InputError(
                f"teachers.text.num_prompts is {teacher['num_prompts']}, but must be 1 to {len(TEMPLATES)}, or null"
            )
        network = build_teacher(cfg, "text", ctx.device)
        return LiveText(network, dataset.names, teacher["num_prompts"], teacher["center"], progress_of(ctx))
    table, rows = open_cache(cfg, "text", dataset).name_table(dataset.ids, teacher["num_prompts"])
    return CachedText(table.to(ctx.device), rows, teacher["center"])


def open_carried(cfg: Mapping[str, Any], kind: str, dataset: Any, ctx: Any) -> CarriedFeatures:
    """The source of features that come with the samples."""
    teacher = cfg["teachers"][kind]
    count = teacher["num_views" if kind == "image" else "num_prompts"]
    return CarriedFeatures(f"{kind}_features", dataset.carried[kind], count, teacher["center"], ctx.device)


def teacher_dims(cfg: Mapping[str, Any], dataset: Any, ctx: Any) -> tuple[int | None, int | None]:
    """Widths of the image and the text features, None for what is switched off."""
    make_missing(cfg, dataset, ctx)
    image, text = (
        None
        if cfg["teachers"][kind] is None
        else build_teacher(cfg, kind).dim
        if is_live(cfg, kind)
        else dataset.carried[kind]["dim"]
        if is_carried(cfg, kind, dataset)
        else open_cache(cfg, kind, dataset).width(kind)
        for kind in KINDS
    )
    return image, text


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
    network = build_teacher(cfg, "text", device)
    features = read_sentences(sentences, network, batch_size=256, progress=progress_bar)
    return features.view(len(dataset.class_names), len(TEMPLATES), -1)
