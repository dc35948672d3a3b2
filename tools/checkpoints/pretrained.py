"""A network from a checkpoint alone: ours by the config in it, a published one by its keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointrecon.models.reconpp.encoder import CAUSAL
from pointrecon.models.reconpp.load import NUM_GROUPS
from pointrecon.tools.build import build_classifier, build_encoder, build_pretrainer, stopped_share
from pointrecon.tools.checkpoints.checkpoint import LoadReport, load_weights, read_checkpoint
from pointrecon.tools.checkpoints.sizes import PLUS, kind_of, network_of, projection_dims, sizes_of
from pointrecon.utils.config import complete_config
from pointrecon.utils.errors import InputError

NOT_BUILT = ("head.", "contrast_head.", "cls_token", "cls_position")


@dataclass(frozen=True)
class PretrainedInfo:
    """What is known of a network that was built from a file.

    Attributes:
        path: the file.
        kind: what the file is, such as `published ReCon pretraining`.
        config: the whole config that the network was built by; what the file does not say has its default.
        guessed: keys of the config that neither the file's config nor its weights say; the published values are taken.
        report: what was loaded.
        class_names: what the outputs of a trained head stand for; `class 0` and so on where the file does not say;
            empty: the network has no head.
        feature_means: (D,) by teacher, what was subtracted from its features in training; one that is not here had
            nothing subtracted, or the file does not say.
    """

    path: Path
    kind: str
    config: Mapping[str, Any]
    guessed: tuple[str, ...]
    report: LoadReport
    class_names: tuple[str, ...] = ()
    feature_means: Mapping[str, Tensor] = field(default_factory=dict, compare=False)


def load_pretrained(
    path: str | Path, *, device: str | torch.device = "cpu", **changes: Any
) -> tuple[nn.Module, PretrainedInfo]:
    """Builds the network that a checkpoint belongs to, and loads it.

    Args:
        path: ours or a published one, in any form that `read_checkpoint` reads.
        device: where the network is to be.
        changes: keys of the section `model` to set, such as `num_heads=6` for a published file of unusual width, or
            `num_groups=128` to cut clouds finer.

    Returns:
        In evaluation mode: the pretraining network if the file has a decoder or projections, the classifier if it has
        a classification head, otherwise its encoder.

    Raises:
        InputError: the file cannot be read, holds no encoder, or does not say enough about its network.
    """
    content = read_checkpoint(path)
    state, config, layout = content["base_model"], content.get("config"), content["layout"]
    config = config if isinstance(config, Mapping) else {}
    said, known = config.get("model"), network_of(content)
    said = said if isinstance(said, Mapping) else {}
    if "encoder.norm.weight" not in state:
        raise InputError(f"'{path}' holds no encoder; give a checkpoint of pretraining, fine-tuning or an encoder")
    if "num_heads" not in {**known, **changes}:
        raise InputError(
            f"'{path}' is {known.get('embed_dim')} channels wide and does not say how many attention heads it has; "
            "give num_heads"
        )
    model = {**known, **changes, "drop_path": 0.0}
    model.setdefault("decoder_num_heads", model["num_heads"])
    if model.get("type") == PLUS and layout is not None:
        model = {"num_groups": NUM_GROUPS[model["mask_type"] == CAUSAL], "skip_origin": True, **model}
    if layout is not None and layout.is_plain:
        model = {"type": "TwoTower" if "encoder.cls_token" in state else "ReCon", "block": "PreNormBlock", **model}
        model = {**model, "block": "ReConBlock"} if model["type"] == "TwoTower" else model
    cfg = complete_config({**config, "model": model}, f"the config in '{path}'")
    is_whole = any(key.startswith("decoder.") or key.endswith("_proj.weight") and key.count(".") == 1 for key in state)
    is_whole = is_whole and not (model.get("type") == PLUS and _count_outputs(state))
    num_classes = 0 if is_whole or any(key.startswith("head.local.") for key in state) else _count_outputs(state)
    network: Any
    skip: tuple[str, ...]
    if is_whole:
        network = build_pretrainer(cfg, projection_dims(state))
        skip = NOT_BUILT
    elif num_classes:
        network = build_classifier(_with_head(cfg, state, num_classes), num_classes)
        skip = ("contrast_head.",)
    else:
        network = nn.Module()
        network.encoder = build_encoder(cfg["model"], stop_grad=stopped_share(cfg["model"]))
        skip = NOT_BUILT
    report = load_weights(network, path, may_lack=("decoder.", "contrast_head."), skip=skip)
    network = (network if is_whole or num_classes else network.encoder).to(device).eval().requires_grad_(False)
    shown = {"group_size"} if "decoder.coords.weight" in state else set()
    guessed = [key for key in ("num_heads", "num_groups", "group_size") if key not in {*said, *changes, *shown}]
    kind = f"published {layout.name}" if layout else kind_of(state)
    names, means = class_names_of(content, num_classes), content.get("feature_means")
    means = {k: torch.as_tensor(x).float() for k, x in means.items()} if isinstance(means, dict) else {}
    return network, PretrainedInfo(Path(path), kind, cfg, tuple(f"model.{k}" for k in guessed), report, names, means)


def class_names_of(content: Mapping[str, Any], num_classes: int) -> tuple[str, ...]:
    """What the outputs of a head stand for: as a checkpoint says, or `class 0` and so on."""
    names = content.get("class_names")
    if isinstance(names, list) and len(names) == num_classes and all(isinstance(name, str) for name in names):
        return tuple(names)
    return tuple(f"class {row}" for row in range(num_classes))


def _count_outputs(state: Mapping[str, Tensor]) -> int:
    return int(sizes_of(state).get("number of classes", 0))


def _with_head(cfg: Any, state: Mapping[str, Tensor], num_classes: int) -> Any:
    """The config, with the head that the weights show."""
    head = {"head": sizes_of(state)["classifier.head"], "num_classes": num_classes, "freeze": "none"}
    head["rebuild_weight"] = 0.0
    return {**cfg, "classifier": {**cfg["classifier"], **head}}
