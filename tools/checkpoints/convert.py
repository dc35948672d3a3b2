"""Converts checkpoints between this project's key names, the published ones and safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pointrecon.models.published.encoder import to_published
from pointrecon.tools.checkpoints.checkpoint import read_checkpoint, save_checkpoint
from pointrecon.tools.checkpoints.sizes import kind_of, network_of, summarize
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.files.weights import SAFETENSORS, write_safetensors

TARGETS = ("ours", "published", "safetensors")
KEPT = "epoch step metrics best_metrics config class_names seen_objects seen_unknown feature_means".split()


def convert(
    source: str | Path, target: str | Path, to: str = "ours", is_overwrite: bool = False, is_half: bool = False
) -> str:
    """Converts a checkpoint; optimizer and random state stay behind, since no other program could go on from them.

    Args:
        source: ours or published, in any form that `read_checkpoint` reads.
        target: file to write; with the ending .safetensors it becomes one, whichever names it has.
        to: `ours`, `published`, or `safetensors` (our names, and the ending has to be right).
        is_overwrite: replace a file that is there.
        is_half: matrices in half precision; biases and statistics stay as they are.

    Returns:
        What was done, in a sentence.

    Raises:
        InputError: source cannot be read or has no counterpart, or target is there or has the wrong ending.
    """
    target = Path(target)
    check_choice("--to", to, TARGETS)
    if to == "safetensors" and target.suffix != SAFETENSORS:
        raise InputError(f"'{target}' is to be a safetensors file, but does not end in {SAFETENSORS}; name it so")
    if target.exists() and not is_overwrite:
        raise InputError(f"'{target}' is there already; give another name, or --overwrite to replace it")
    content = read_checkpoint(source)
    layout, state = content["layout"], content["base_model"]
    if layout is not None and (layout.is_plain or layout.only):
        raise InputError(
            f"'{source}' is a {layout.name} file, which is no network of this project and is not converted; use it as "
            "it is with --ckpts"
        )
    if not any(key.startswith("encoder.") for key in state):
        raise InputError(f"'{source}' holds no encoder, so it is no checkpoint of this project and no published one")
    block = network_of(content).get("block", "ReConBlock")
    if to == "published" and block != "ReConBlock":
        raise InputError(f"'{source}' is of a network of {block}s, which no published file holds; use --to safetensors")
    if is_half:
        state = {
            key: value.half() if value.is_floating_point() and value.ndim > 1 else value for key, value in state.items()
        }
    kept = {name: content[name] for name in KEPT if content.get(name) is not None and _is_kept(content[name])}
    if to == "published":
        _write_published(to_published(state), kept, target)
    elif target.suffix == SAFETENSORS:
        write_safetensors(state, kept, target)
    else:
        save_checkpoint({"base_model": state, **kept}, target)
    dropped = f"; left out: {summarize(content['dropped'])}" if content["dropped"] else ""
    return f"{len(state)} tensors of a {kind_of(state)} network from '{source}' to '{target}'{dropped}"


def _is_kept(value: Any) -> bool:
    """Whether it is a tensor, a dict of tensors, or what JSON can hold, as metrics and a config should be."""
    parts = value.values() if isinstance(value, Mapping) else [value]
    if parts and all(isinstance(item, torch.Tensor) for item in parts):
        return True
    try:
        json.dumps(value, default=float)
    except (TypeError, ValueError):
        return False
    return True


def _write_published(state: Mapping[str, torch.Tensor], kept: Mapping[str, Any], target: Path) -> None:
    if target.suffix == SAFETENSORS:
        write_safetensors(state, kept, target)
        return
    # parity: published segmentation files keep their weights under another name than the others do.
    name = "model_state_dict" if "convs1.weight" in state else "base_model"
    with atomic_write(target) as temporary:
        torch.save({name: dict(state), **kept}, temporary)
