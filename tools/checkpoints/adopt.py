"""Sizes of the network from the checkpoint that a run starts from, where the config does not give them."""

from collections.abc import Container, Mapping
from typing import Any, cast

from pointrecon.tools.checkpoints.checkpoint import peek_checkpoint
from pointrecon.tools.checkpoints.sizes import PLUS, network_of
from pointrecon.tools.settings import Settings
from pointrecon.utils.config import check_part, merge

# What makes a network another one. The rest of `model` is how it is trained and what it is shown.
SIZES = ("type", "block", "queries", "embed_dim", "depth", "num_heads", "patch_width", "mlp_ratio", "class_token")
PLUS_SIZES = ("mask_type", "large_embedding", "layer_scale", "colors")  # of ReCon++, which sizes alone do not tell
DECODER = ("decoder_depth", "decoder_num_heads", "group_size")


def adopt_sizes(cfg: Settings, given: Container[str]) -> list[str]:
    """Gives a config the sizes of the network that `init` names, but for those that somebody has set.

    Args:
        cfg: the whole config; changed in place.
        given: dotted keys that a file or the command line sets.

    Returns:
        What was changed, such as `model.embed_dim=256`.

    Raises:
        InputError: the checkpoint cannot be read, or its config has values that no config can have.
    """
    if not cfg["init"]:
        return []
    is_rebuilt = cfg["task"] == "classify" and cfg["classifier"]["rebuild_weight"] > 0
    keys = SIZES + (DECODER if cfg["task"] == "pretrain" or is_rebuilt else ())
    known = network_of(peek_checkpoint(cfg["init"]))
    keys += PLUS_SIZES if known.get("type") == PLUS else ()
    model = cast(dict[str, Any], cfg["model"])
    wanted = {key: known[key] for key in keys if key in known and not is_given(key, known[key], given)}
    checked = check_part({"model": wanted}, f"the config in '{cfg['init']}'")["model"]
    changed = {}
    for key, value in checked.items():
        full = merge(model[key], value) if isinstance(value, Mapping) else value
        if full != model[key]:
            model[key] = changed[key] = full
    return [f"model.{key}={dict(value) if isinstance(value, Mapping) else value}" for key, value in changed.items()]


def is_given(key: str, value: Any, given: Container[str]) -> bool:
    """Whether somebody has set a key of `model`, or one below it."""
    names = [f"model.{key}"] + ([f"model.{key}.{name}" for name in value] if isinstance(value, Mapping) else [])
    return any(name in given for name in names)
