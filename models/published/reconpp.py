"""Key names of published ReCon++ checkpoints, mapped to this project's and back.

A published pretraining file has `model.` before every key but those of its projections, a classifier has not. Wrappers
are stripped before these functions see a key, `model.` among them. Conv1d kernels of size 1 become Linear weights.
A file of one of timm's 2D ViTs, which ReCon++ starts from, is read too: each of its blocks goes into both stacks.
"""

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from pointrecon.utils.errors import InputError

# Renamings, ours -> published; those of the patch embeddings follow.
RENAMES = (
    ("encoder.global_query", "global_query"),
    ("encoder.start_position", "encoder.sos_pos"),
    ("encoder.start", "encoder.sos"),
    ("encoder.pos_embed.", "pos_embed."),
    ("encoder.norm.", "encoder.ln_f1."),
    ("encoder.norm_query.", "encoder.ln_f2."),
    ("decoder.pos_embed.", "decoder_pos_embed."),
    ("decoder.norm.", "decoder.ln_f."),
    ("decoder.coords.", "decoder.increase_dim.0."),
    ("decoder.", "decoder."),
    ("image_proj.", "img_proj."),
    ("text_proj.", "text_proj."),
    ("head.", "cls_head_finetune."),
    ("cls_token", "cls_token"),
    ("norm.", "norm."),
)
SMALL = {"fc1": "first_conv.0", "norm1": "first_conv.1", "fc2": "first_conv.3"}
SMALL |= {"fc3": "second_conv.0", "norm2": "second_conv.1", "fc4": "second_conv.3"}
LARGE = {"fc0": "first_conv.0", "norm0": "first_conv.1", "fc1": "first_conv.3", "norm1": "first_conv.4"}
LARGE |= {"fc2": "first_conv.6", "fc3": "second_conv.0", "norm2": "second_conv.1", "fc4": "second_conv.3"}
CONVS = re.compile(r"(first_conv\.\d+|second_conv\.\d+|increase_dim\.0)\.weight$")
BLOCK = re.compile(r"encoder\.blocks\.(local|global)_blocks\.(\d+)\.(.+)$")
OUR_BLOCK = re.compile(r"encoder\.blocks\.(\d+)\.(local|query)\.(.+)$")
VIT_BLOCK = re.compile(r"blocks\.(\d+)\.((?:norm[12]|attn\.(?:qkv|proj)|mlp\.fc[12])\.(?:weight|bias)|ls[12]\.gamma)$")
PROJECTIONS = ("img_proj.", "text_proj.")
PUBLISHED_QUERIES = {16: (13, 3), 11: (10, 1)}  # total -> images and texts
HEADS = {384: 6, 768: 12, 1024: 16, 1408: 16}  # width -> attention heads, which no weight shows


def is_reconpp(keys: Collection[str]) -> bool:
    """Whether stripped keys are those of a published ReCon++ file."""
    return "global_query" in keys and any(BLOCK.match(key) for key in keys)


def is_our_reconpp(keys: Collection[str]) -> bool:
    """Whether keys are those of a ReCon++ network of this project."""
    return "encoder.global_query" in keys or any(OUR_BLOCK.match(key) for key in keys)


def is_vit(keys: Collection[str]) -> bool:
    """Whether stripped keys are those of a plain 2D ViT of timm."""
    return "patch_embed.proj.weight" in keys and "blocks.0.attn.qkv.weight" in keys and "pos_embed" in keys


def from_published_reconpp(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stripped published keys -> ours; keys that are not known stay as they are."""
    embedding = {new: old for old, new in (LARGE if _is_large(state) else SMALL).items()}
    ours = {}
    for key, value in state.items():
        squeezed = value.squeeze(-1) if CONVS.search(key) and value.dim() == 3 else value
        ours[_to_ours(key, embedding)] = squeezed
    return ours


def to_published_reconpp(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our keys of a ReCon++ network -> published ones."""
    is_pretraining = any(key.startswith("image_proj.") or key.startswith("text_proj.") for key in state)
    embedding = LARGE if "encoder.patch_embed.fc0.weight" in state else SMALL
    published = {}
    for key, value in state.items():
        name = _to_published(key, embedding)
        value = value.unsqueeze(-1) if CONVS.search(name) and value.dim() == 2 else value
        published[name if name.startswith(PROJECTIONS) or not is_pretraining else f"model.{name}"] = value
    return published


def from_vit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Blocks of a 2D ViT -> those of both stacks; its embedding, positions, class token, norm and head stay behind.

    Raises:
        InputError: it has a layer that no block here has, such as query and key norms.
    """
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        match = VIT_BLOCK.match(key)
        if match is None:
            if key.startswith("blocks."):
                raise InputError(
                    f"'{key}' has no place in a ReCon++ block, which is that of a plain ViT; give one, such as "
                    "vit_base_patch32_clip_384.openai_ft_in12k_in1k"
                )
            continue
        number, name = match.groups()
        ours[f"encoder.blocks.{number}.local.{name}"] = value
        ours |= query_block(f"encoder.blocks.{number}.query.", name, value)
    return ours


def query_block(prefix: str, name: str, value: Tensor) -> dict[str, Tensor]:
    """One tensor of a local block -> those that the query block of its depth starts from: qkv falls into q and kv."""
    if not name.startswith("attn.qkv."):
        return {prefix + name: value}
    kind = name.removeprefix("attn.qkv.")
    dim = len(value) // 3
    return {f"{prefix}attn.q.{kind}": value[:dim], f"{prefix}attn.kv.{kind}": value[dim:]}


def _is_large(state: Mapping[str, Tensor]) -> bool:
    return "embed.first_conv.6.weight" in state


def _to_ours(key: str, embedding: Mapping[str, str]) -> str:
    if block := BLOCK.match(key):
        stack, number, name = block.groups()
        return f"encoder.blocks.{number}.{'local' if stack == 'local' else 'query'}.{name}"
    if key.startswith("embed."):
        layer, _, name = key.removeprefix("embed.").rpartition(".")
        return f"encoder.patch_embed.{embedding.get(layer, layer)}.{name}"
    return next((ours + key[len(old) :] for ours, old in RENAMES if _has_prefix(key, old)), key)


def _to_published(key: str, embedding: Mapping[str, str]) -> str:
    if block := OUR_BLOCK.match(key):
        number, stack, name = block.groups()
        return f"encoder.blocks.{'local' if stack == 'local' else 'global'}_blocks.{number}.{name}"
    if key.startswith("encoder.patch_embed."):
        layer, _, name = key.removeprefix("encoder.patch_embed.").rpartition(".")
        return f"embed.{embedding.get(layer, layer)}.{name}"
    return next((old + key[len(ours) :] for ours, old in RENAMES if _has_prefix(key, ours)), key)


def _has_prefix(key: str, prefix: str) -> bool:
    """A prefix that does not end in a dot is a whole name."""
    return key.startswith(prefix) if prefix.endswith(".") else key == prefix
