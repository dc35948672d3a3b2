"""Keys that were set for nothing: the run does not read them, so whoever set them expects something else of it."""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from pointrecon.tools.settings import Settings
from pointrecon.tools.startup.checks import evaluator_types
from pointrecon.utils.config import COMMAND_LINE, Resolved, flatten, load_schema
from pointrecon.utils.config_paths import short


class Condition(NamedTuple):
    """When keys are read."""

    patterns: tuple[str, ...]  # of dotted keys; * stands for anything
    holds: Callable[[Settings], bool]
    reason: str  # why they are not read where it does not hold


def _is_task(*tasks: str) -> Callable[[Settings], bool]:
    # What a task of somebody else's reads is not known here.
    return lambda cfg: cfg["task"] in tasks or ":" in cfg["task"]


def _trains(cfg: Settings) -> bool:
    return cfg["epochs"] > 0


OPTIMIZING = tuple(
    "optim.* ema.* accum_steps save_every save_epochs keep_epochs skip_nonfinite log_every data.drop_last "
    "data.device_resident model.drop_path *.dropout classifier.label_smoothing".split()
)

CONDITIONS = (
    Condition(("loss.*",), _is_task("pretrain"), "these losses are those of task=pretrain"),
    Condition(
        ("teachers.*",),
        lambda cfg: _is_task("pretrain")(cfg) or "zero_shot" in evaluator_types(cfg["evaluators"]),
        "teachers are asked in pretraining and by the evaluator zero_shot",
    ),
    Condition(("classifier.*",), _is_task("classify"), "only task=classify has a classifier"),
    Condition(("segmenter.*",), _is_task("segment"), "only task=segment has a segmenter"),
    Condition(
        ("model.decoder_*", "model.mask_*", "model.stop_*", "model.embed_masked"),
        lambda cfg: _is_task("pretrain", "evaluate")(cfg) or cfg["model"]["type"] == "ReConPP",
        "nothing is masked or reconstructed but in pretraining",
    ),
    Condition(
        ("model.stop_share", "model.stop_grad_until"),
        lambda cfg: cfg["model"]["stop_grad"],
        "nothing is stopped (model.stop_grad is false)",
    ),
    Condition(("num_votes",), _is_task("classify", "segment"), "only classifiers and segmenters vote"),
    Condition(OPTIMIZING, _trains, "nothing is trained (epochs is 0)"),
    Condition(("data.augment.color_drop",), lambda cfg: cfg["model"]["colors"], "the network takes no colours"),
    Condition(
        ("data.augment.*",),
        lambda cfg: _trains(cfg) or cfg["num_votes"] > 0,
        "nothing is trained (epochs is 0), and there are no votes",
    ),
    Condition(("data.val_fraction",), lambda cfg: cfg["select"] != "last", "only select=val holds objects out"),
    Condition(
        ("model.class_token", "classifier.stream"),
        lambda cfg: cfg["model"]["type"] != "ReCon",
        "model.type=ReCon has none",
    ),
    Condition(
        tuple(f"model.{key}" for key in "step colors color_fill large_embedding layer_scale skip_origin".split()),
        lambda cfg: cfg["model"]["type"] == "ReConPP" or ":" in cfg["model"]["type"],
        "only model.type=ReConPP reads it",
    ),
    Condition(
        ("classifier.dropout",), lambda cfg: cfg["classifier"]["head"] != "linear", "a linear head has no dropout"
    ),
    Condition(("optim.warmup_lr",), lambda cfg: cfg["optim"]["warmup_epochs"] > 0, "there is no warm-up"),
    Condition(("loss.contrast.[td]*",), lambda cfg: cfg["loss"]["contrast"]["weight"] > 0, "its weight is 0"),
    Condition(
        ("data.augment.scale_isotropic",),
        lambda cfg: list(cfg["data"]["augment"]["scale"]) != [1.0, 1.0],
        "nothing is scaled (data.augment.scale is [1, 1])",
    ),
)


def warnings(resolved: Resolved, config: str) -> list[str]:
    """Returns a sentence for each key that was set on the command line, or in the config itself, and is not read.

    What a config says about training does not count where a flag has switched training off, and a config that has
    every key, as those in run folders do, says nothing of what its author had in mind.

    Args:
        resolved: The config with its origins.
        config: Path of the file.
    """
    values, own = flatten(resolved.cfg), short(Path(config))
    is_complete = sum(origin == own for origin in resolved.origins.values()) > len(load_schema().keys()) // 2
    found = []
    for key, reason in _unread(resolved):
        origin = resolved.origins[key]
        if origin == COMMAND_LINE or (origin == own and not is_complete and "epochs is 0" not in reason):
            found.append(f"{key}={values.get(key)} ({origin}) changes nothing in this run: {reason}")
    return found


def _unread(resolved: Resolved) -> Iterator[tuple[str, str]]:
    for key in resolved.origins:
        for condition in CONDITIONS:
            if any(fnmatchcase(key, pattern) for pattern in condition.patterns) and not condition.holds(resolved.cfg):
                yield key, condition.reason
                break
