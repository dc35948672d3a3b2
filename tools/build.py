"""Config sections -> data sets, transforms and networks. The one place where their options are spelt out."""

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from torch import nn

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.loader import BatchSource, train_loader
from pointrecon.datasets.opening import check_sizes, open_split
from pointrecon.datasets.resident import ResidentLoader
from pointrecon.datasets.splits import Choice
from pointrecon.datasets.transforms import PointTransform
from pointrecon.models import MODELS
from pointrecon.models.blocks import BLOCKS
from pointrecon.models.blocks.batch_norm import use_plain_statistics
from pointrecon.models.classifier import PointClassifier
from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.losses import DISTILLATIONS
from pointrecon.models.losses.chamfer import NORMS, Chamfer
from pointrecon.models.losses.contrast import Contrast
from pointrecon.models.losses.distillation import Distillation
from pointrecon.models.patches.masking import MASKS
from pointrecon.models.recon import MASK, ReCon
from pointrecon.models.segmenter import PointSegmenter
from pointrecon.models.two_tower import TwoTowerClassifier
from pointrecon.tools.context import RunContext
from pointrecon.tools.protocol import drops_last, has_quirk, holds_out
from pointrecon.tools.settings import DataSettings, ModelSettings, Settings
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.log import progress_bar
from pointrecon.utils.registry import Registry

Network = TypeVar("Network", bound=nn.Module)

# What the section `model` says of an encoder; one that does not take a key is not given it.
ENCODER_KEYS: tuple[str, ...]
ENCODER_KEYS = ("embed_dim", "depth", "num_heads", "num_groups", "group_size", "mlp_ratio", "drop_path")
ENCODER_KEYS += ("embed_masked", "patch_width", "queries", "block", "class_token", "mask_type")
ENCODER_KEYS += ("colors", "color_fill", "large_embedding", "layer_scale", "skip_origin")
# Those that are refused, rather than named in a warning, where a network has no use for them: it would be another one.
ESSENTIAL = {"block": "ReConBlock", "class_token": False, "colors": False, "large_embedding": False}
ESSENTIAL |= {"layer_scale": False}
NO_TEACHER = ("chamfer", "contrast", "self", "loss")  # names that mean something else among the losses


def build_dataset(cfg: Settings, split: str, **options: Any) -> PointCloudDataset:
    """The data set of the section `data`, cut to a split.

    Args:
        cfg: the whole config.
        split: `pretrain`, `train`, `val` or `test`.
        options: win over the section's own (`shots=5`).

    Raises:
        InputError: the data set cannot be read, or its clouds differ in size or have fewer points than
            `data.num_points`.
    """
    data = cfg["data"]
    own: dict[str, Any] = {**data["options"], **options}
    choice = Choice(
        split=split,
        fold=own.pop("fold", data["fold"]),
        shots=own.pop("shots", data["shots"]),
        val_fraction=own.pop("val_fraction", data["val_fraction"] if holds_out(cfg) else 0.0),
        seed=own.pop("seed", cfg["seed"]),
        way=data["way"],
    )
    if data["on_error"] != "raise":  # a data set that cannot leave anything out refuses it by name
        own["on_error"] = data["on_error"]
    model, cache_root = cfg["model"], data["cache_root"]
    colors = {"colors": True, "color_fill": model["color_fill"]} if model["colors"] else {}
    dataset = open_split(
        data["type"], data["root"] or cfg["data_root"], choice, own, cache_root=cache_root, defaults=colors
    )
    check_sizes(dataset, data["num_points"])
    return dataset


def build_train_loader(cfg: Settings, dataset: PointCloudDataset, ctx: RunContext) -> BatchSource:
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


def train_transform(data: DataSettings, dataset: PointCloudDataset, color_fill: float = 0.4) -> PointTransform:
    """A fresh random subset of the points, varied as `data.augment` says.

    Args:
        data: the section `data`.
        dataset: says whether its first points are the farthest ones.
        color_fill: `model.color_fill`.
    """
    return PointTransform(
        data["num_points"],
        "random",
        data["normalize"],
        data["augment"],
        data["sample_pool"],
        dataset.is_fps_ordered,
        color_fill,
    )


def eval_transform(data: DataSettings, dataset: PointCloudDataset | None = None) -> PointTransform:
    """The same points each time, unchanged (unless `data.eval_sampling` is `random`).

    Args:
        data: the section `data`.
        dataset: as for `train_transform`; None: clouds whose points are in no order.
    """
    return PointTransform(
        data["num_points"],
        data["eval_sampling"],
        data["normalize"],
        pool=data["sample_pool"],
        is_fps_ordered=dataset is not None and dataset.is_fps_ordered,
    )


def stopped_share(model: ModelSettings) -> float:
    """The share of the queries' gradient that does not reach the patch tokens in pretraining."""
    # 1 and 0 as switches: what is stopped in full or not at all is the same arithmetic as ever.
    share = model["stop_share"] if model["stop_grad"] else 0.0
    return bool(share) if share in (0.0, 1.0) else share


def build_encoder(model: ModelSettings, *, stop_grad: float) -> Any:
    """The encoder of the section `model`: a `PointEncoder`, or what the network of `model.type` brings instead.

    Raises:
        InputError: sizes that no network can have, or an option that this network has no use for.
    """
    make = getattr(choose(MODELS, "model.type", model["type"]), "encoder_class", PointEncoder)
    sizes = cast(Mapping[str, Any], model)
    for key in ("embed_dim", "depth", "num_heads", "num_groups", "group_size"):
        if sizes[key] < 1:
            raise InputError(f"model.{key} is {sizes[key]}, but must be at least 1")
    if model["patch_width"] < 4 or model["patch_width"] % 4:
        raise InputError(f"model.patch_width is {model['patch_width']}, but must be a multiple of 4")
    takes = inspect.signature(make).parameters
    options = {key: sizes[key] for key in ENCODER_KEYS if key in takes}
    for key, default in ESSENTIAL.items():
        if key not in takes and sizes[key] != default:
            raise InputError(f"model.{key} is {sizes[key]}, but model.type={model['type']} has no use for it")
    if "block" in options:
        choose(BLOCKS, "model.block", options["block"])
    return make(**options, stop_grad=stop_grad)


def build_decoder(model: ModelSettings) -> Any:
    """The reconstruction decoder of the section `model`: a `MaskedDecoder`, or what the network brings instead."""
    make = getattr(choose(MODELS, "model.type", model["type"]), "decoder_class", MaskedDecoder)
    sizes: dict[str, Any] = {**model, "depth": model["decoder_depth"], "num_heads": model["decoder_num_heads"]}
    keys = ("embed_dim", "depth", "num_heads", "group_size", "mlp_ratio", "drop_path", "mask_type", "colors")
    takes = inspect.signature(make).parameters
    return make(**{key: sizes[key] for key in keys if key in takes})


def build_pretrainer(cfg: Settings, dims: Mapping[str, int]) -> ReCon:
    """The pretraining network of the sections `model` and `loss`.

    Args:
        cfg: the whole config.
        dims: widths of the teachers' features, by name; what is not named has no projection.

    Raises:
        InputError: sizes that no network can have, or a teacher without queries.
    """
    check_points(cfg)
    model, loss = cfg["model"], cfg["loss"]
    make = choose(MODELS, "model.type", model["type"])
    check_choice("model.mask_type", model["mask_type"], getattr(make, "mask_types", MASKS))
    check_choice("loss.chamfer.type", loss["chamfer"]["type"], NORMS)
    teachers = {name: build_distillation(cfg, name, dim) for name, dim in dims.items()}
    contrast = loss["contrast"]
    chamfer = loss["chamfer"]
    extras = {"step": model["step"]} if "step" in inspect.signature(make).parameters else {}
    network = make(
        encoder=build_encoder(model, stop_grad=stopped_share(model)),
        decoder=build_decoder(model),
        mask_ratio=model["mask_ratio"],
        mask_type=model["mask_type"],
        teachers=teachers,
        chamfer=Chamfer(norm=chamfer["type"], weight=chamfer["weight"], color=chamfer["color"]),
        contrast=Contrast(contrast["weight"], contrast["temperature"], contrast["dim"]) if contrast["weight"] else None,
        **extras,
    )
    return _with_statistics(cfg, network)


def build_distillation(cfg: Settings, name: str, dim: int) -> Distillation:
    """What is learnt from the teacher called `name`, as the section `loss.<name>` says.

    Raises:
        InputError: a name that no teacher can have, or an unknown loss.
    """
    if not name.isidentifier() or name in NO_TEACHER or name.endswith(MASK):
        raise InputError(
            f"a teacher is called '{name}', but the name must be a word of letters, digits and _, none of: "
            f"{', '.join(NO_TEACHER)}"
        )
    options = dict(cast(Mapping[str, Any], cfg["loss"]).get(name) or {})
    loss = choose(DISTILLATIONS, f"loss.{name}.type", options.pop("type", "smooth_l1"))
    return Distillation(dim, loss, **options)


def choose(registry: Registry, key: str, name: str) -> Any:
    """The entry of a registry that a config key names, or one from outside: `package.module:Name`.

    Raises:
        InputError: there is none.
    """
    if ":" not in name:
        check_choice(key, name, registry.names())
    return registry.get(name)


def build_classifier(cfg: Settings, num_classes: int) -> PointClassifier:
    """The classifier of the sections `model` and `classifier`."""
    check_points(cfg)
    options = cfg["classifier"]
    check_choice("classifier.freeze", options["freeze"], ("none", "backbone"))
    model = cfg["model"]
    classifier = getattr(choose(MODELS, "model.type", model["type"]), "classifier_class", PointClassifier)
    extras: dict[str, Any] = {}
    if classifier is TwoTowerClassifier:
        extras = {"stream": options["stream"]}
        model = {**model, "class_token": False}  # it has one of its own
    encoder = build_encoder(model, stop_grad=False)
    if "rebuild_weight" in inspect.signature(classifier).parameters:
        if weight := options["rebuild_weight"]:
            extras = {"decoder": build_decoder(model), "rebuild_weight": weight}
    elif options["rebuild_weight"]:
        raise InputError(
            f"classifier.rebuild_weight is {options['rebuild_weight']}, but model.type={model['type']} rebuilds "
            "nothing in fine-tuning; set it to 0, or model.type=ReConPP"
        )
    if options["stream"] != "all" and "stream" not in extras:
        raise InputError(f"classifier.stream is '{options['stream']}', but only model.type=TwoTower has streams")
    network = classifier(
        encoder,
        options["num_classes"] or num_classes,
        options["head"],
        options["dropout"],
        freeze_backbone=options["freeze"] == "backbone",
        is_leaky=has_quirk(cfg, "leaky_freeze"),
        **extras,
    )
    return _with_statistics(cfg, network)


def build_segmenter(cfg: Settings, num_classes: int, num_parts: int) -> PointSegmenter:
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
    if not hasattr(encoder, "forward_blocks"):
        raise InputError(
            f"model.type is '{model['type']}', but parts are segmented with model.type=ReCon or model.type=ReConPP"
        )
    network = PointSegmenter(encoder, num_classes, num_parts, options["feature_blocks"], options["dropout"])
    return _with_statistics(cfg, network)


def _with_statistics(cfg: Settings, network: Network) -> Network:
    if has_quirk(cfg, "plain_statistics"):
        use_plain_statistics(network)
    return network


def check_points(cfg: Settings) -> None:
    """Raises InputError if a cloud has too few points for its patches."""
    model, num_points = cfg["model"], cfg["data"]["num_points"]
    for key in ("num_groups", "group_size"):
        if model[key] > num_points:
            raise InputError(
                f"model.{key} is {model[key]}, but a cloud has data.num_points={num_points} points; raise "
                f"data.num_points or lower model.{key}"
            )
