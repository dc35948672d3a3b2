"""A network from a checkpoint alone: ours by the config in it, a published one by its keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pointrecon.tools.build import build_encoder, build_pretrainer
from pointrecon.tools.checkpoints.checkpoint import LoadReport, load_weights, read_checkpoint
from pointrecon.tools.checkpoints.sizes import kind_of, projection_dims, sizes_of
from pointrecon.utils.config import complete_config
from pointrecon.utils.errors import InputError

HEAD_WIDTH = 64  # channels of an attention head in every published network
NOT_BUILT = ("head.", "contrast_head.", "cls_token", "cls_position")


@dataclass(frozen=True)
class PretrainedInfo:
    """What is known of a network that was built from a file.

    Attributes:
        path: the file.
        kind: what the file is, such as `published ReCon pretraining`.
        config: the whole config that the network was built by; what the file does not say has its default.
        guessed: keys of the config that neither the file's config nor its weights say.
        report: what was loaded.
    """

    path: Path
    kind: str
    config: Mapping[str, Any]
    guessed: tuple[str, ...]
    report: LoadReport


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
        The pretraining network, in evaluation mode, if the file has a decoder or projections; otherwise its encoder.

    Raises:
        InputError: the file cannot be read, holds no encoder, or does not say enough about its network.
    """
    content = read_checkpoint(path)
    state, config, layout = content["base_model"], content.get("config"), content["layout"]
    config = config if isinstance(config, Mapping) else {}
    shown = {name.removeprefix("model."): size for name, size in sizes_of(state).items() if name.startswith("model.")}
    if "embed_dim" not in shown:
        raise InputError(f"'{path}' holds no encoder; give a checkpoint of pretraining, fine-tuning or an encoder")
    said = config.get("model") if isinstance(config.get("model"), Mapping) else {}
    if "num_heads" not in {**said, **changes}:
        shown["num_heads"] = _usual_heads(shown["embed_dim"], path)
    if "decoder_num_heads" not in {**said, **changes}:
        shown["decoder_num_heads"] = changes.get("num_heads", shown.get("num_heads", said.get("num_heads")))
    model = {**shown, **said, **changes, "drop_path": 0.0}
    cfg = complete_config({**config, "model": model}, f"the config in '{path}'")
    is_whole = any(key.startswith("decoder.") or key.endswith("_proj.weight") and key.count(".") == 1 for key in state)
    if is_whole:
        network = build_pretrainer(cfg, projection_dims(state))
    else:
        network = nn.Module()
        network.encoder = build_encoder(cfg["model"], stop_grad=cfg["model"]["stop_grad"])
    report = load_weights(network, path, may_lack=("decoder.", "contrast_head."), skip=NOT_BUILT)
    network = (network if is_whole else network.encoder).to(device).eval().requires_grad_(False)
    wanted = ("num_heads", "num_groups", "group_size")
    guessed = tuple(f"model.{key}" for key in wanted if key not in {**said, **changes} and (
        key == "num_heads" or key not in shown))
    kind = f"published {layout.name}" if layout else kind_of(state)
    return network, PretrainedInfo(Path(path), kind, cfg, guessed, report)


def _usual_heads(embed_dim: int, path: str | Path) -> int:
    if embed_dim % HEAD_WIDTH:
        raise InputError(
            f"'{path}' is {embed_dim} channels wide and does not say how many attention heads it has; give num_heads"
        )
    return embed_dim // HEAD_WIDTH
