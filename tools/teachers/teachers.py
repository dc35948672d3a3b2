"""The teachers of a run: their features from caches, made first where they are missing, or the teachers themselves."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.prompts import TEMPLATES, prompts_for
from pointrecon.datasets.teacher_cache.control import NONE
from pointrecon.models.recon import MASK
from pointrecon.tools.context import Surroundings
from pointrecon.tools.protocol import has_quirk
from pointrecon.tools.settings import Settings
from pointrecon.tools.teachers.caches import (
    CACHED,
    all_picture_options,
    build_teacher,
    is_carried,
    is_live,
    kind_of,
    leave_out_unseen,
    make_missing,
    names_of,
    open_cache,
    progress_of,
    section_of,
)
from pointrecon.tools.teachers.control import control_source
from pointrecon.tools.teachers.make_cache import read_sentences
from pointrecon.tools.teachers.sources import (
    CachedImages,
    CachedSamples,
    CachedText,
    CarriedFeatures,
    CarriedSamples,
    LiveImages,
    LiveSamples,
    LiveText,
    is_target,
)
from pointrecon.utils.errors import InputError
from pointrecon.utils.log import progress_bar


class Teachers:
    """What the teachers say about the samples of a batch.

    Args:
        cfg: the whole config.
        dataset: has `ids` and `names`, and `features_path` for sections without a path; gives pictures where
            `picture_options` asks for them.
        ctx: the run's surroundings.

    Attributes:
        sources: by the name of the teacher one of `tools.teachers.sources`; those that are switched on.

    Raises:
        InputError: a cache is missing and no teacher is named that could make it, or it is damaged, lacks a sample or
            was made of other things than the config names; or a live teacher cannot be had.
    """

    def __init__(self, cfg: Settings, dataset: PointCloudDataset, ctx: Surroundings) -> None:
        make_missing(cfg, dataset, ctx)
        if cfg["data"]["on_error"] == "skip":
            leave_out_unseen(cfg, dataset, ctx)
        is_looked_up = any(not is_carried(cfg, name, dataset) for name in names_of(cfg))
        self.row_of = {key: row for row, key in enumerate(dataset.ids)} if is_looked_up else {}
        self.sources = {
            name: control_source(
                open_source(cfg, name, dataset, ctx), section_of(cfg, name).get("control", NONE), cfg["seed"], name
            )
            for name in names_of(cfg)
        }

    @property
    def dims(self) -> dict[str, int]:
        """Widths of the features, by the name of the teacher."""
        return {name: source.dim for name, source in self.sources.items()}

    def draw(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """The targets of each sample: by the name of the teacher (B, D), of a random view and a random prompt.

        Where there are several, (B, R, D) by `teachers.<name>.draws` or from a teacher of whole samples, `<name>_mask`,
        (B, R) bool, says which are there.
        """
        rows = torch.tensor([self.row_of.get(key, -1) for key in batch["id"]])
        targets = {}
        for name, source in self.sources.items():
            targets[name] = source.draw(batch, rows, generator)
            if targets[name].dim() == 3:
                targets[name + MASK] = is_target(targets[name])
        return targets


def picture_options(cfg: Settings) -> dict[str, bool]:
    """The options with which the data set gives what a live image teacher is shown."""
    is_needed = any(is_live(cfg, name) and kind_of(cfg, name) == "image" for name in names_of(cfg))
    return all_picture_options(cfg) if is_needed else {}


def open_source(cfg: Settings, name: str, dataset: PointCloudDataset, ctx: Surroundings) -> Any:
    """The source of features that the section `teachers.<name>` describes."""
    kind, draws = kind_of(cfg, name), section_of(cfg, name).get("draws", 1)
    if is_carried(cfg, name, dataset):
        return open_carried(cfg, name, dataset, ctx)
    if is_live(cfg, name):
        if draws != 1:
            raise InputError(
                f"teachers.{name}.draws is {draws}, but a teacher that runs in every step (cached=false) is shown one "
                f"view or prompt of each sample; set teachers.{name}.cached=true"
            )
        return {"image": open_live_images, "text": open_live_text, "sample": open_live_samples}[kind](
            cfg, name, dataset, ctx
        )
    teacher, cache = section_of(cfg, name), open_cache(cfg, name, dataset)
    if kind == "text":
        table, rows = cache.name_table(dataset.ids, teacher["num_prompts"])
        return CachedText(table.to(ctx.device), rows, teacher["center"], draws)
    if kind == "sample":
        return CachedSamples(cache.image_table(dataset.ids, kind="sample").to(ctx.device), teacher["center"])
    table = cache.image_table(dataset.ids, teacher["num_views"], cache.image_dtype)
    return CachedImages(table.to(ctx.device), teacher["center"], draws)


def open_live_images(cfg: Settings, name: str, dataset: PointCloudDataset, ctx: Surroundings) -> LiveImages:
    """A teacher that is shown pictures in every step."""
    teacher = section_of(cfg, name)
    if teacher["num_views"] is not None and teacher["num_views"] < 1:
        raise InputError(f"teachers.{name}.num_views is {teacher['num_views']}, but must be at least 1, or null")
    network, progress = build_teacher(cfg, name, ctx.device), progress_of(ctx)
    return LiveImages(network, dataset, teacher["num_views"], teacher["seed"], teacher["center"], progress)


def open_live_text(cfg: Settings, name: str, dataset: PointCloudDataset, ctx: Surroundings) -> LiveText:
    """A teacher that reads a prompt in every step."""
    teacher = section_of(cfg, name)
    if teacher["num_prompts"] is not None and not 1 <= teacher["num_prompts"] <= len(TEMPLATES):
        raise InputError(
            f"teachers.{name}.num_prompts is {teacher['num_prompts']}, but must be 1 to {len(TEMPLATES)}, or null"
        )
    network = build_teacher(cfg, name, ctx.device)
    return LiveText(network, dataset.names, teacher["num_prompts"], teacher["center"], progress_of(ctx))


def open_live_samples(cfg: Settings, name: str, dataset: PointCloudDataset, ctx: Surroundings) -> LiveSamples:
    """A teacher that is shown whole samples in every step."""
    return LiveSamples(build_teacher(cfg, name, ctx.device), dataset, section_of(cfg, name)["center"], progress_of(ctx))


def open_carried(
    cfg: Settings, name: str, dataset: PointCloudDataset, ctx: Surroundings
) -> CarriedFeatures | CarriedSamples:
    """The source of features that come with the samples."""
    teacher, kind = section_of(cfg, name), kind_of(cfg, name)
    known, key = dataset.carried[name], f"{name}_features"
    if kind == "sample":
        return CarriedSamples(key, known, teacher["center"], ctx.device)
    count = teacher["num_views" if kind == "image" else "num_prompts"]
    return CarriedFeatures(key, known, count, teacher["center"], ctx.device, teacher.get("draws", 1))


def teacher_dims(cfg: Settings, dataset: PointCloudDataset, ctx: Surroundings) -> dict[str, int]:
    """Widths of the features, by the name of the teacher; of those that are switched on."""
    make_missing(cfg, dataset, ctx)
    return {
        name: build_teacher(cfg, name).dim
        if is_live(cfg, name)
        else dataset.carried[name]["dim"]
        if is_carried(cfg, name, dataset)
        else open_cache(cfg, name, dataset).width(kind_of(cfg, name))
        for name in names_of(cfg)
    }


def class_prompts(cfg: Settings, dataset: PointCloudDataset, device: torch.device | str = "cpu") -> Tensor:
    """(C, Q, Dt): each class of the data set in each template, from the cache or, where one is named, the teacher.

    Raises:
        InputError: the cache or the teacher cannot be read.
    """
    if section_of(cfg, "text")["type"] == CACHED:
        return open_cache(cfg, "text", dataset).class_table(dataset.class_names)
    if has_quirk(cfg, "published_class_names"):
        published = dataset.published_class_names
        sentences = [template.format(name) for name in published for template in TEMPLATES]
    else:
        sentences = [sentence for name in dataset.class_texts for sentence in prompts_for(name, TEMPLATES)]
    network = build_teacher(cfg, "text", device)
    features = read_sentences(sentences, network, batch_size=256, progress=progress_bar)
    return features.view(len(dataset.class_names), len(TEMPLATES), -1)
