"""Key names of published checkpoints, mapped to this project's and back.

`LAYOUTS` says how each kind of file names its weights: ReCon (pretraining, classifier, zero-shot, encoder alone), the
two-tower baseline, and the plain masked autoencoders Point-MAE and ACT, whose patch embedding and blocks have the
layers of a ReCon encoder's local stream. Part segmentation and ReCon++ have files of their own, `segmenter.py` and
`reconpp.py`; networks of others are told apart in `foreign.py`. Conv1d kernels of size 1 become Linear weights:
(C, D, 1) <-> (C, D).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pointrecon.models.published.foreign import describe_foreign
from pointrecon.models.published.reconpp import (
    from_published_reconpp,
    from_vit,
    is_our_reconpp,
    is_reconpp,
    is_vit,
    to_published_reconpp,
)
from pointrecon.models.published.segmenter import (
    HEAD_RENAMES,
    from_published_segmenter,
    is_published_segmenter,
    to_published_segmenter,
)
from pointrecon.utils.errors import InputError

# Renamings inside an encoder, ours -> published.
ENCODER_RENAMES = (
    ("patch_embed.fc1.", "encoder.first_conv.0."),
    ("patch_embed.norm1.", "encoder.first_conv.1."),
    ("patch_embed.fc2.", "encoder.first_conv.3."),
    ("patch_embed.fc3.", "encoder.second_conv.0."),
    ("patch_embed.norm2.", "encoder.second_conv.1."),
    ("patch_embed.fc4.", "encoder.second_conv.3."),
    ("blocks.", "blocks.blocks."),
    ("pos_embed.", "pos_embed."),
    ("norm.", "norm."),
)
# Renamings outside the encoders, ours -> published.
OUTER_RENAMES = (
    ("decoder.mask_token", "mask_token"),
    ("decoder.pos_embed.", "decoder_pos_embed."),
    ("decoder.coords.", "increase_dim.0."),
    ("decoder.", "MAE_decoder."),
    ("image_proj.", "img_proj."),
    ("text_proj.", "text_proj."),
    ("contrast_head.", "cls_proj."),
    ("head.", "cls_head_finetune."),
)
CONV_KEYS = re.compile(r"(first_conv\.[03]|second_conv\.[03]|increase_dim\.0)\.weight$")
TEACHERS = ("img_encoder.", "text_encoder.")
CLASS_TOKEN = {"token": "token", "position": "pos"}
# What wraps a network puts its name before every key, torch.compile inside it too; in any order, any number of times.
WRAPPERS = re.compile(r"(?:(?:module|model)\.)+")
COMPILED = "_orig_mod."
# What reads the patches and is no part of a plain masked autoencoder, in our names.
QUERY_STREAM = re.compile(r"encoder\.(query_|contrast_tower\.|blocks\.\d+\.\w+_contrast\.)")


def _stack(prefix: str, published_prefix: str, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Our tensors (1, Q, C) of tokens and of positions -> the Q published ones (1, 1, C)."""
    kinds = {"query_tokens": "token", "query_positions": "pos"}
    return {prefix + ours: tuple(f"{published_prefix}{name}_{kind}" for name in names) for ours, kind in kinds.items()}


def _class_token(published_prefix: str) -> dict[str, tuple[str, ...]]:
    """The token in front of the patches of a plain transformer, which takes part in their attention."""
    return {f"encoder.cls_{ours}": (f"{published_prefix}cls_{name}",) for ours, name in CLASS_TOKEN.items()}


@dataclass(frozen=True)
class Layout:
    """How one kind of published file names its weights.

    Attributes:
        name: what the file is, for messages.
        encoders: prefix of an encoder in our names -> in the file; the most specific one first.
        queries: our tensors that stack several of the file's.
        drops: prefixes of what is left out besides teachers.
        is_plain: no ReCon network: it has no queries and no projections, and is read but never written.
        only: what of a network such a file has, as a prefix in our names; empty: all of it.
    """

    name: str
    encoders: Mapping[str, str]
    queries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    drops: tuple[str, ...] = ()
    is_plain: bool = False
    only: str = ""


RECON, TOWERS = ("cls", "img", "text"), ("img", "text")
TOWER, SEGMENTER_HEAD = "encoder.contrast_tower.", "head.local."
FLAT, FLAT_QUERIES = {"encoder.": ""}, _stack("encoder.", "", RECON)
LAYOUTS = {
    "recon": Layout("ReCon pretraining", {"encoder.": "MAE_encoder."}, _stack("encoder.", "MAE_encoder.", RECON)),
    "classifier": Layout("ReCon classifier", FLAT, FLAT_QUERIES),
    "zero_shot": Layout("ReCon zero-shot", FLAT, FLAT_QUERIES),
    "encoder": Layout("ReCon encoder", FLAT, FLAT_QUERIES),
    "segmenter": Layout("ReCon part segmentation", FLAT, FLAT_QUERIES),
    "towers": Layout(
        "two-tower pretraining",
        {TOWER: "Dis_encoder.", "encoder.": "MAE_encoder."},
        _stack(TOWER, "Dis_encoder.", TOWERS),
    ),
    "towers_classifier": Layout(
        "two-tower classifier",
        {TOWER: "Dis_encoder.", "encoder.": ""},
        {**_stack(TOWER, "Dis_encoder.", TOWERS), "cls_token": ("cls_token",), "cls_position": ("cls_pos",)},
    ),
    "point_mae": Layout("Point-MAE pretraining", {"encoder.": "MAE_encoder."}, is_plain=True),
    "act": Layout(
        "ACT pretraining",
        {"encoder.": "ACT_encoder."},
        _class_token("ACT_encoder."),
        drops=("dvae_tokenizer.", "ACT_decoder.", "decoder_pos_embed.", "mask_token", "proj_head.", "cls_pos")
        + tuple(f"ACT_encoder.{name}" for name in ("lm_head.", "cls_head.")),
        is_plain=True,
    ),
    "plain_classifier": Layout(
        "plain transformer classifier", FLAT, _class_token(""), drops=("cls_head_finetune.",), is_plain=True
    ),
    "reconpp": Layout("ReCon++ pretraining", {}),
    "reconpp_classifier": Layout("ReCon++ classifier", {}),
    "vit": Layout("2D ViT", {}, only="encoder.blocks."),
    "plain_segmenter": Layout(
        "plain transformer part segmentation",
        FLAT,
        drops=tuple(published for _, published in HEAD_RENAMES),
        is_plain=True,
    ),
}


def strip_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Removes what DataParallel, torch.compile and wrapper classes put before every key.

    Raises:
        InputError: two keys become one.
    """
    stripped: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.replace(COMPILED, "")
        wrapped = WRAPPERS.match(name)
        name = name[wrapped.end() :] if wrapped else name
        if name in stripped:
            raise InputError(f"it holds the weights of two networks: '{key}' is there twice but for a prefix")
        stripped[name] = value
    return stripped


def is_published(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of the published code."""
    is_known = any("first_conv.0.weight" in key for key in state) or describe_foreign(state) is not None
    return is_known or is_vit(strip_wrappers(state))


def identify(state: Mapping[str, Tensor]) -> Layout:
    """The layout of a published state dict, by its keys.

    Raises:
        InputError: a network that has no counterpart here.
    """
    keys = strip_wrappers(state)
    prefixes = {key.split(".")[0] for key in keys}
    is_recon = any(".attn_contrast." in key for key in keys)
    if is_reconpp(keys):
        return LAYOUTS["reconpp" if prefixes & {"img_proj", "text_proj"} else "reconpp_classifier"]
    if is_vit(keys):
        return LAYOUTS["vit"]
    foreign = describe_foreign(keys)
    if foreign is not None:
        raise InputError(foreign)
    if is_published_segmenter(keys):
        return LAYOUTS["segmenter" if is_recon else "plain_segmenter"]
    if "Dis_encoder" in prefixes:
        return LAYOUTS["towers" if "MAE_encoder" in prefixes else "towers_classifier"]
    if "MAE_encoder" in prefixes:
        return LAYOUTS["recon" if is_recon else "point_mae"]
    if "ACT_encoder" in prefixes:
        return LAYOUTS["act"]
    if "encoder.first_conv.0.weight" not in keys:
        raise InputError(
            "the weights are of a network that is not known here; give one of ReCon, ReCon++, Point-MAE or ACT"
        )
    if not is_recon:
        return LAYOUTS["plain_classifier"]
    if "cls_head_finetune" in prefixes:
        return LAYOUTS["classifier"]
    return LAYOUTS["zero_shot" if prefixes & {"img_proj", "text_proj"} else "encoder"]


def dropped_keys(state: Mapping[str, Tensor]) -> list[str]:
    """Keys of a published state dict that `from_published` leaves out: teachers, and what no network here has."""
    layout = identify(state)
    if layout is LAYOUTS["vit"]:
        return [key for key in strip_wrappers(state) if not key.startswith("blocks.")]
    drops = TEACHERS + layout.drops
    return [key for key in strip_wrappers(state) if key.startswith(drops)]


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published keys -> ours, without `dropped_keys`; keys that are not known are kept as they are.

    Raises:
        InputError: a network that has no counterpart here, or queries of different shapes.
    """
    layout, dropped = identify(state), set(dropped_keys(state))
    state = {key: value for key, value in strip_wrappers(state).items() if key not in dropped}
    if layout is LAYOUTS["segmenter"]:
        return from_published_segmenter(state)
    if layout.name.startswith("ReCon++"):
        return from_published_reconpp(state)
    if layout is LAYOUTS["vit"]:
        return from_vit(state)
    ours = {}
    for name, parts in layout.queries.items():
        if all(part in state for part in parts):
            _check_queries(state, parts)
            ours[name] = torch.cat([state[part] for part in parts], dim=1)
    stacked = {part for parts in layout.queries.values() for part in parts}
    for key, value in state.items():
        if key not in stacked:
            squeezed = value.squeeze(-1) if CONV_KEYS.search(key) and value.dim() == 3 else value
            ours[_to_our_key(key, layout)] = squeezed
    return ours


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our keys -> published, for every network that has published weights; what it is shows in the keys.

    Raises:
        InputError: queries of another number than the network has.
    """
    if is_our_reconpp(state):
        return to_published_reconpp(state)
    if any(key.startswith(SEGMENTER_HEAD) for key in state):
        return to_published_segmenter(state)
    is_pretraining = any(key.startswith("decoder.") for key in state)
    if any(key.startswith(TOWER) for key in state):
        layout = LAYOUTS["towers" if is_pretraining else "towers_classifier"]
    else:
        layout = LAYOUTS["recon" if is_pretraining else "classifier"]
    published: dict[str, Tensor] = {}
    for key, value in state.items():
        if key in layout.queries:
            if value.dim() != 3 or value.shape[1] != len(layout.queries[key]):
                raise InputError(f"'{key}' must be (1, {len(layout.queries[key])}, width), but is {tuple(value.shape)}")
            parts = value.split(1, dim=1)
            published |= {name: part.clone() for name, part in zip(layout.queries[key], parts, strict=True)}
        else:
            name = _to_published_key(key, layout)
            published[name] = value.unsqueeze(-1) if CONV_KEYS.search(name) else value
    return published


def _check_queries(state: Mapping[str, Tensor], parts: tuple[str, ...]) -> None:
    shapes = {tuple(state[part].shape) for part in parts}
    dtypes = {state[part].dtype for part in parts}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(dtypes) > 1 or len(shape) != 3 or shape[:2] != (1, 1):
        raise InputError(f"'{parts[0]}' and its like must be of one shape (1, 1, width), but are {sorted(shapes)}")


def _to_our_key(key: str, layout: Layout) -> str:
    for ours, published in layout.encoders.items():
        if key.startswith(published):
            inner = _rename(key.removeprefix(published), [(new, old) for old, new in ENCODER_RENAMES])
            if inner is not None:
                return ours + inner
    return _rename(key, [(new, old) for old, new in OUTER_RENAMES]) or key


def _to_published_key(key: str, layout: Layout) -> str:
    for ours, published in layout.encoders.items():
        if key.startswith(ours):
            return published + (_rename(key.removeprefix(ours), ENCODER_RENAMES) or key.removeprefix(ours))
    return _rename(key, OUTER_RENAMES) or key


def _rename(key: str, renames: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> str | None:
    for old, new in renames:
        if key.startswith(old):
            return new + key[len(old) :]
    return None
