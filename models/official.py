"""Key names of the published checkpoints, mapped to this project's and back.

A published file is a dict with `base_model`, the state dict (sometimes with a `module.` prefix). Pretraining files hold
the encoder under `MAE_encoder.`; classifier files hold it at the top. Its Conv1d kernels have size 1 and become Linear.
"""

import re

import torch
from torch import Tensor

# Renamings inside the encoder, ours -> published.
ENCODER_RENAMES = (
    ("patch_embed.fc1.", "encoder.first_conv.0."),
    ("patch_embed.norm1.", "encoder.first_conv.1."),
    ("patch_embed.fc2.", "encoder.first_conv.3."),
    ("patch_embed.fc3.", "encoder.second_conv.0."),
    ("patch_embed.norm2.", "encoder.second_conv.1."),
    ("patch_embed.fc4.", "encoder.second_conv.3."),
    ("blocks.", "blocks.blocks."),
)
# Renamings outside the encoder, ours -> published.
PRETRAIN_RENAMES = (
    ("decoder.mask_token", "mask_token"),
    ("decoder.pos_embed.", "decoder_pos_embed."),
    ("decoder.coords.", "increase_dim.0."),
    ("decoder.", "MAE_decoder."),
    ("image_proj.", "img_proj."),
    ("text_proj.", "text_proj."),
    ("contrast_head.", "cls_proj."),
)
HEAD_RENAMES = (("head.", "cls_head_finetune."),)
QUERY_KEYS = {
    "query_tokens": ("cls_token", "img_token", "text_token"),
    "query_positions": ("cls_pos", "img_pos", "text_pos"),
}
CONV_KEYS = re.compile(r"(first_conv\.[03]|second_conv\.[03]|increase_dim\.0)\.weight$")
TEACHER_PREFIXES = ("img_encoder.", "text_encoder.")
PRETRAIN_ENCODER = "MAE_encoder."


def strip_module(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove the `module.` that DataParallel puts before every key."""
    return {key.removeprefix("module."): value for key, value in state.items()}


def is_published(state: dict[str, Tensor]) -> bool:
    """Whether the keys are those of the published code."""
    return any("first_conv.0.weight" in key for key in state)


def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published keys -> ours. Teachers' weights are dropped; keys that are not known are kept as they are."""
    state = {k: v for k, v in strip_module(state).items() if not k.startswith(TEACHER_PREFIXES)}
    is_pretraining = any(key.startswith(PRETRAIN_ENCODER) for key in state)
    outer = PRETRAIN_RENAMES if is_pretraining else (*HEAD_RENAMES, *PRETRAIN_RENAMES[-3:])
    ours: dict[str, Tensor] = {}
    queries: dict[str, Tensor] = {}
    for key, value in state.items():
        inner = key.removeprefix(PRETRAIN_ENCODER)
        is_inner = key.startswith(PRETRAIN_ENCODER) or not is_pretraining
        if is_inner and inner in sum(QUERY_KEYS.values(), ()):
            queries[inner] = value
            continue
        name = _rename_back(key, outer)
        if name == key and is_inner:
            name = "encoder." + _rename_back(inner, ENCODER_RENAMES)
        ours[name] = value.squeeze(-1) if CONV_KEYS.search(key) and value.dim() == 3 else value
    for name, parts in QUERY_KEYS.items():
        if all(part in queries for part in parts):
            ours[f"encoder.{name}"] = torch.cat([queries[part] for part in parts], dim=1)
    return ours


def to_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our keys -> published, pretraining and classifier checkpoints alike (told apart by `decoder.` keys)."""
    is_pretraining = any(key.startswith("decoder.") for key in state)
    prefix = PRETRAIN_ENCODER if is_pretraining else ""
    published: dict[str, Tensor] = {}
    for key, value in state.items():
        inner = key.removeprefix("encoder.")
        if inner in QUERY_KEYS:
            for part, token in zip(QUERY_KEYS[inner], value.split(1, dim=1), strict=True):
                published[prefix + part] = token.clone()
            continue
        if key.startswith("encoder."):
            name = prefix + _rename(inner, ENCODER_RENAMES)
        else:
            name = _rename(key, (*PRETRAIN_RENAMES, *HEAD_RENAMES))
        published[name] = value.unsqueeze(-1) if CONV_KEYS.search(name) else value
    return published


def _rename(key: str, renames: tuple[tuple[str, str], ...]) -> str:
    for ours, published in renames:
        if key.startswith(ours):
            return published + key[len(ours) :]
    return key


def _rename_back(key: str, renames: tuple[tuple[str, str], ...]) -> str:
    for ours, published in renames:
        if key.startswith(published):
            return ours + key[len(published) :]
    return key
