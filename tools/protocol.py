"""`protocol: published`: what the published code did that a sound measurement would not, all in one place.

Where the published protocol is unsound this project's default is not; a run with `protocol: published` repeats the
published one and lists in result.json what of that applied to it. Found by reading the published code of 2024-07.
"""

from dataclasses import dataclass

from pointrecon.tools.settings import AugmentSettings, Settings
from pointrecon.utils.errors import InputError, check_choice, closest

PROTOCOLS = ("sound", "published")
SELECTIONS = ("last", "val", "test")  # what `select` may be, besides the name of an evaluator
TRAINING = ("pretrain", "classify", "segment")


@dataclass(frozen=True)
class Quirk:
    """A habit of the published code.

    Attributes:
        tasks: tasks that have it.
        sentence: what it does to the numbers.
        data: data sets that have it; empty: all.
    """

    tasks: tuple[str, ...]
    sentence: str
    data: tuple[str, ...] = ()


QUIRKS = {
    "plain_statistics": Quirk(
        TRAINING, "running statistics of batch-norms keep a part of their start, 0.9 to the power of the steps"
    ),
    "extra_epoch": Quirk(TRAINING, "one epoch more than `epochs` says"),
    "epoch_schedule": Quirk(
        TRAINING, "the rate changes once an epoch and one epoch late, so the first two epochs run at optim.warmup_lr"
    ),
    "undivided_accumulation": Quirk(TRAINING, "with accum_steps the losses are summed, not averaged"),
    "drop_last": Quirk(TRAINING, "the last, smaller batch of every training epoch is left out"),
    "whole_shapenet": Quirk(("pretrain",), "ShapeNet's test shapes are pretrained on too", ("ShapeNet55",)),
    "bgr_images": Quirk(
        ("pretrain",),
        "the image teacher sees colours in the order BGR, scaled with ImageNet's statistics",
        ("ShapeNet55",),
    ),
    "test_selection": Quirk(("classify", "segment"), "the checkpoint is the best one on the test split: it flatters"),
    "best_of_votes": Quirk(
        ("classify",), "with num_votes, voting is repeated 299 times on the test split and the best time is reported"
    ),
    "published_votes": Quirk(
        ("classify",),
        "with num_votes, logits are averaged, over clouds that are scaled (ModelNet), turned (PB_T50_RS) or unchanged "
        "(OBJ_BG, OBJ_ONLY)",
        ("ModelNet40", "ModelNet10", "ModelNetFewShot", "ScanObjectNN"),
    ),
    "leaky_freeze": Quirk(
        ("classify",), "a frozen backbone moves its cls query and running statistics, and drops paths in training"
    ),
    "cls_in_head_group": Quirk(
        ("classify",), "the cls query learns at the head's rate, and the head's biases and norms decay"
    ),
    "double_step": Quirk(("segment",), "two optimizer steps a batch, the first one before gradients are clipped"),
    "resampled_test": Quirk(("segment",), "test clouds are drawn at random with replacement, anew in each run"),
    "train_and_test": Quirk(
        ("evaluate",), "zero-shot accuracy counts training and test objects together, on random points of each"
    ),
    "published_class_names": Quirk(
        ("evaluate",), "zero-shot prompts have ScanObjectNN's 'toile' for toilet and class names with underscores"
    ),
    "summed_prompts": Quirk(("evaluate",), "prompt embeddings are summed without being normalised first"),
    "svm_drop_last": Quirk(("evaluate",), "the SVM does not see the last, smaller batch of training objects"),
}


def has_quirk(cfg: Settings, name: str) -> bool:
    """Whether the run repeats a habit of the published code."""
    assert name in QUIRKS, f"there is no quirk '{name}'"
    return name in quirks(cfg)


def quirks(cfg: Settings) -> dict[str, str]:
    """The habits that the run has under its protocol: name -> sentence, for result.json.

    Raises:
        InputError: an unknown protocol.
    """
    check_choice("protocol", cfg["protocol"], PROTOCOLS)
    if cfg["protocol"] == "sound":
        return {}
    task, data = cfg["task"], cfg["data"]["type"]
    return {
        name: quirk.sentence
        for name, quirk in QUIRKS.items()
        if task in quirk.tasks and (not quirk.data or data in quirk.data)
    }


def num_epochs(cfg: Settings) -> int:
    """Epochs that the run trains."""
    return cfg["epochs"] + (cfg["epochs"] > 0 and has_quirk(cfg, "extra_epoch"))


def selection(cfg: Settings) -> str:
    """What chooses the checkpoint: `select`, or the test split as published.

    Raises:
        InputError: `select` is neither a split nor the name of an evaluator.
    """
    select = cfg["select"]
    if select not in SELECTIONS and select not in cfg["evaluators"]:
        names = [*SELECTIONS, *cfg["evaluators"]]
        match = "val" if select == "best" else closest(select, names)
        hint = f"; did you mean '{match}'?" if match else ""
        raise InputError(f"select is '{select}', but must be one of: {', '.join(names)}{hint}")
    return "test" if cfg["epochs"] and has_quirk(cfg, "test_selection") else select


def selecting_split(cfg: Settings) -> str | None:
    """The split whose objects choose the checkpoint: `val`, `test`, or None if the last one is taken.

    An evaluator that chooses measures validation objects, unless its own option `split` says otherwise.
    """
    select = selection(cfg)
    if select in SELECTIONS:
        return None if select == "last" else select
    return (cfg["evaluators"][select] or {}).get("split", "val")


def holds_out(cfg: Settings, *, data_type: str | None = None) -> bool:
    """Whether `data.val_fraction` of the training objects of a data set is kept for choosing the checkpoint.

    Args:
        cfg: the whole config.
        data_type: the data set; None: that of the run.
    """
    select = selection(cfg)
    if select in SELECTIONS:
        return select == "val"
    chosen_on = ((cfg["evaluators"][select] or {}).get("data") or {}).get("type", cfg["data"]["type"])
    return selecting_split(cfg) == "val" and chosen_on == (data_type or cfg["data"]["type"])


def vote_augment(cfg: Settings) -> AugmentSettings:
    """How the clouds of a vote are varied: as in training, or as the published code varies them when it votes.

    Published votes know one augmentation a data set: ModelNet's clouds are stretched by 2/3 to 3/2 along each axis and
    not shifted, those of PB_T50_RS are turned about the vertical, those of the two other variants stay as they are.
    """
    data = cfg["data"]
    if not has_quirk(cfg, "published_votes"):
        return data["augment"]
    is_turned = data["type"] == "ScanObjectNN" and data["options"].get("variant", "pb_t50_rs") == "pb_t50_rs"
    is_scaled = data["type"].startswith("ModelNet")
    return AugmentSettings(
        rotate_y=180.0 if is_turned else 0.0,
        tilt=0.0,
        scale=(2 / 3, 3 / 2) if is_scaled else (1.0, 1.0),
        scale_isotropic=False,
        shift=0.0,
        jitter=0.0,
        flip_x=0.0,
        dropout=0.0,
        color_drop=0.0,
        up="y",
    )


def drops_last(cfg: Settings) -> bool:
    """Whether training leaves out the last, smaller batch of an epoch."""
    return cfg["data"]["drop_last"] or has_quirk(cfg, "drop_last")
