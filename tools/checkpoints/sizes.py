"""What the weights say about the network they belong to: its sizes, and what kind of checkpoint they make."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from pointrecon.models.published.encoder import QUERY_STREAM, TEACHERS, TOWER
from pointrecon.models.published.reconpp import is_our_reconpp
from pointrecon.models.reconpp.load import sizes_of_reconpp

PARTS = {
    "encoder.": "encoder",
    "decoder.": "decoder",
    "contrast_head.": "contrast head",
    "head.": "head",
    "cls_": "class token",
    **dict.fromkeys((*TEACHERS, "dvae_tokenizer."), "teachers"),
}
PROJECTION = re.compile(r"(\w+)_proj\.(?:weight|bias)$")
PLUS = "ReConPP"
HEAD_WIDTH = 64  # channels of an attention head in every published network
_MATRICES = ("patch_embed.fc4.weight", "head.0.weight")


def part_of(key: str) -> str:
    """The part of a network that a key belongs to, for messages."""
    if QUERY_STREAM.match(key):
        return "global queries and their layers"
    if projection := PROJECTION.match(key):
        return f"{projection[1]} projection"
    return next((name for prefix, name in PARTS.items() if key.startswith(prefix)), key.split(".")[0])


def summarize(keys: Collection[str]) -> str:
    """Counts keys by part: `head (8), decoder (40)`."""
    counts: dict[str, int] = {}
    for key in keys:
        counts[part_of(key)] = counts.get(part_of(key), 0) + 1
    return ", ".join(f"{part} ({count})" for part, count in counts.items())


def kind_of(state: Mapping[str, Tensor]) -> str:
    """What kind of checkpoint a state dict in our key names makes."""
    heads = {"decoder.": "pretraining", "head.local.": "part-segmentation", "head.": "classifier"}
    kind = next((kind for prefix, kind in heads.items() if any(key.startswith(prefix) for key in state)), "encoder")
    return f"{_network(state) or 'ReCon'} {kind}"


def sizes_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes by the name of their config key, as far as the weights show them.

    Args:
        state: in our key names.
    """
    sizes: dict[str, Any] = {"model.type": _network(state)}
    # A tensor with too few axes, or of length 0, says nothing; it is refused when shapes are compared.
    state = {key: x for key, x in state.items() if x.dim() >= (2 if key.endswith(_MATRICES) else 1) and len(x)}
    if sizes["model.type"] == PLUS:
        sizes = {f"model.{key}": size for key, size in sizes_of_reconpp(state).items()}
    elif "encoder.norm.weight" in state:
        dim = sizes["model.embed_dim"] = len(state["encoder.norm.weight"])
        if "encoder.patch_embed.fc4.weight" in state:
            sizes["model.patch_width"] = state["encoder.patch_embed.fc4.weight"].shape[1]
        sizes["model.depth"] = _count_blocks(state, "encoder.")
        if "encoder.blocks.0.mlp.fc1.weight" in state:
            sizes["model.mlp_ratio"] = len(state["encoder.blocks.0.mlp.fc1.weight"]) / dim
        if "head.0.weight" in state and sizes["model.type"] == "TwoTower":
            is_all = state["head.0.weight"].shape[1] > 2 * dim
            sizes["classifier.stream"] = "all" if is_all else "local or global"
    if "decoder.coords.weight" in state and sizes["model.type"] != PLUS:
        sizes["model.decoder_depth"] = _count_blocks(state, "decoder.")
        sizes["model.group_size"] = len(state["decoder.coords.weight"]) // 3
    if "head.0.weight" in state:
        sizes["classifier.head"] = "mlp3" if "head.8.weight" in state else "linear"
    widths = {
        "loss.contrast.dim": "contrast_head.0.weight",
        "number of classes": "head.8.weight" if "head.8.weight" in state else "head.0.weight",
        "number of parts": "head.fc3.weight",
    }
    sizes |= {f"width of the {name} teacher": dim for name, dim in projection_dims(state).items()}
    sizes |= {name: len(state[key]) for name, key in widths.items() if key in state}
    return {name: size for name, size in sizes.items() if size is not None}


def network_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its network, by the name of the key in the section `model`.

    Args:
        content: of `read_checkpoint`: the config in it counts, and the weights where it has none.
    """
    config, state, layout = content.get("config"), content["base_model"], content["layout"]
    said = config.get("model") if isinstance(config, Mapping) else None
    shown = {name.removeprefix("model."): size for name, size in sizes_of(state).items() if name.startswith("model.")}
    if "encoder.cls_token" in state:
        shown["class_token"] = True
    is_plus = shown.get("type") == PLUS
    if layout is not None and not is_plus and "embed_dim" in shown and shown["embed_dim"] % HEAD_WIDTH == 0:
        shown["num_heads"] = shown["embed_dim"] // HEAD_WIDTH
        if not layout.is_plain:
            shown["decoder_num_heads"] = shown["num_heads"]
    return {**shown, **said} if isinstance(said, Mapping) else shown


def projection_dims(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Widths of the teachers that a network has learnt from, by their names, in the order of its keys."""
    found = ((PROJECTION.match(key), weight) for key, weight in state.items())
    return {match[1]: len(weight) for match, weight in found if match and weight.dim() == 2}


def describe_differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """What of the sizes differs, in words; None if nothing does."""
    differing = [name for name in found if name in wanted and found[name] != wanted[name]]
    return ", ".join(f"{name} is {found[name]} in the file and {wanted[name]} here" for name in differing) or None


def _network(state: Mapping[str, Tensor]) -> str | None:
    if any(key.startswith(TOWER) for key in state):
        return "TwoTower"
    if is_our_reconpp(state):
        return PLUS
    return "ReCon" if any(QUERY_STREAM.match(key) for key in state) else None


def _count_blocks(state: Mapping[str, Tensor], prefix: str) -> int:
    prefix += "blocks."
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
