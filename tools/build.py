"""Config sections -> data sets, transforms and networks. The one place where their options are spelt out."""

from collections.abc import Mapping
from typing import Any

from torch.utils.data import Dataset

from pointrecon.datasets import DATASETS
from pointrecon.datasets.loader import train_loader
from pointrecon.datasets.resident import ResidentLoader
from pointrecon.datasets.transforms import PointTransform
from pointrecon.models import MODELS
from pointrecon.models.classifier import PointClassifier
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.segmenter import PointSegmenter
from pointrecon.models.two_tower import TwoTowerClassifier
from pointrecon.tools.protocol import drops_last, has_quirk
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.log import progress_bar


def build_dataset(cfg: Mapping[str, Any], split: str, **options: Any) -> Dataset:
    """The data set of the section `data`.

    Args:
        cfg: the whole config.
        split: `pretrain`, `train`, `val` or `test`.
        options: win over the section's own (`shots=5`).

    Raises:
        InputError: the data set cannot be read, or its clouds have fewer points than `data.num_points`.
    """
    data = cfg["data"]
    chosen = {
        "type": data["type"],
        "root": cfg["data_root"],
        "split": split,
        "fold": data["fold"],
        "shots": data["shots"],
        "val_fraction": data["val_fraction"] if cfg["select"] == "val" else 0.0,
        "seed": cfg["seed"],
        **data["options"],
        **options,
    }
    # Not every data set can do these; one that cannot refuses them by name.
    chosen |= {key: data[key] for key, default in (("way", None), ("on_error", "raise")) if data[key] != default}
    dataset = DATASETS.build(chosen)
    stored = len(dataset[0]["points"])
    if data["num_points"] > stored:
        raise InputError(
            f"data.num_points is {data['num_points']}, but the clouds of {data['type']} have {stored} points; give "
            f"data.num_points={stored} or less"
        )
    return dataset


def build_train_loader(cfg: Mapping[str, Any], dataset: Dataset, ctx: Any) -> Any:
    """Shuffled batches of this process: loaded as they are wanted, or from the device where `data.device_resident`.

    Args:
        cfg: the whole config.
        dataset: the training split.
        ctx: the run's surroundings.

    Raises:
        InputError: the data set is smaller than a batch, or cannot lie on the device.
    """
    loader = train_loader(
        dataset, ctx.batch_size, cfg["num_workers"], drops_last(cfg), cfg["seed"], ctx.rank, ctx.world_size
    )
    if not cfg["data"]["device_resident"]:
        return loader
    resident = ResidentLoader(loader, ctx.device, progress_bar if ctx.is_main else lambda items, _: items)
    ctx.logger.info(f"data: {len(dataset)} shapes on {ctx.device}, {resident.num_bytes / 1e6:.0f} MB")
    return resident


def train_transform(data: Mapping[str, Any], dataset: Any = None) -> PointTransform:
    """A fresh random subset of the points, varied as `data.augment` says.

    Args:
        data: the section `data`.
        dataset: says with `is_fps_ordered` whether its first points are the farthest ones.
    """
    is_fps_ordered = getattr(dataset, "is_fps_ordered", False)
    return PointTransform(
        data["num_points"], "random", data["normalize"], data["augment"], data["sample_pool"], is_fps_ordered
    )


def eval_transform(data: Mapping[str, Any], dataset: Any = None) -> PointTransform:
    """The same points each time, unchanged (unless `data.eval_sampling` is `random`).

    Args:
        data: the section `data`.
        dataset: as for `train_transform`.
    """
    is_fps_ordered = getattr(dataset, "is_fps_ordered", False)
    return PointTransform(
        data["num_points"],
        data["eval_sampling"],
        data["normalize"],
        pool=data["sample_pool"],
        is_fps_ordered=is_fps_ordered,
    )


def build_encoder(model: Mapping[str, Any], stop_grad: bool) -> Any:
    """The encoder of the section `model`: a `PointEncoder`, or what the network of `model.type` brings instead.

    Raises:
        InputError: sizes that no network can have.
    """
    check_choice("model.type", model["type"], MODELS.names())
    for key in ("embed_dim", "depth", "num_heads", "num_groups", "group_size"):
        if model[key] < 1:
            raise InputError(f"model.{key} is {model[key]}, but must be at least 1")
    if model["patch_width"] < 4 or model["patch_width"] % 4:
        raise InputError(f"model.patch_width is {model['patch_width']}, but must be a multiple of 4")
    return getattr(MODELS.get(model["type"]), "encoder_class", PointEncoder)(
        embed_dim=model["embed_dim"],
        depth=model["depth"],
        num_heads=model["num_heads"],
        num_groups=model["num_groups"],
        group_size=model["group_size"],
        mlp_ratio=model["mlp_ratio"],
        drop_path=model["drop_path"],
        stop_grad=stop_grad,
        embed_masked=model["embed_masked"],
        patch_width=model["patch_width"],
    )


def build_pretrainer(cfg: Mapping[str, Any], image_dim: int | None, text_dim: int | None) -> Any:
    """The pretraining network of the sections `model` and `loss`.

    Args:
        cfg: the whole config.
        image_dim: width of the image teacher's features; None without that teacher.
        text_dim: width of the text teacher's features; None without that teacher.
    """
    check_points(cfg)
    model = cfg["model"]
    return MODELS.get(model["type"])(
        encoder=build_encoder(model, stop_grad=model["stop_grad"]),
        decoder_depth=model["decoder_depth"],
        decoder_num_heads=model["decoder_num_heads"],
        decoder_drop_path=model["drop_path"],
        mask_ratio=model["mask_ratio"],
        mask_type=model["mask_type"],
        image_dim=image_dim,
        text_dim=text_dim,
        loss=cfg["loss"],
        decoder_mlp_ratio=model["mlp_ratio"],
    )


def build_classifier(cfg: Mapping[str, Any], num_classes: int) -> PointClassifier:
    """The classifier of the sections `model` and `classifier`."""
    check_points(cfg)
    options = cfg["classifier"]
    check_choice("classifier.freeze", options["freeze"], ("none", "backbone"))
    encoder = build_encoder(cfg["model"], stop_grad=False)
    classifier = getattr(MODELS.get(cfg["model"]["type"]), "classifier_class", PointClassifier)
    extras = {"stream": options["stream"]} if classifier is TwoTowerClassifier else {}
    if options["stream"] != "all" and not extras:
        raise InputError(f"classifier.stream is '{options['stream']}', but only model.type=TwoTower has streams")
    return classifier(
        encoder,
        options["num_classes"] or num_classes,
        options["head"],
        options["dropout"],
        freeze_backbone=options["freeze"] == "backbone",
        is_leaky=has_quirk(cfg, "leaky_freeze"),
        **extras,
    )


def build_segmenter(cfg: Mapping[str, Any], num_classes: int, num_parts: int) -> PointSegmenter:
    """The part segmenter of the sections `model` and `segmenter`.

    Raises:
        InputError: sizes that no network can have.
    """
    check_points(cfg)
    model, options = cfg["model"], cfg["segmenter"]
    if model["num_groups"] < 3:
        raise InputError(
            f"model.num_groups is {model['num_groups']}, but segmentation interpolates between 3 patches; "
            "give at least 3"
        )
    encoder = build_encoder(model, stop_grad=False)
    if not isinstance(encoder, PointEncoder):
        raise InputError(f"model.type is '{model['type']}', but parts are segmented with model.type=ReCon")
    return PointSegmenter(encoder, num_classes, num_parts, options["feature_blocks"], options["dropout"])


def check_points(cfg: Mapping[str, Any]) -> None:
    """Raises InputError if a cloud has too few points for its patches."""
    model, num_points = cfg["model"], cfg["data"]["num_points"]
    for key in ("num_groups", "group_size"):
        if model[key] > num_points:
            raise InputError(
                f"model.{key} is {model[key]}, but a cloud has data.num_points={num_points} points; raise "
                f"data.num_points or lower model.{key}"
            )
