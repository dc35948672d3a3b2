"""Published key names of Uni3D, OpenShape-PointBERT and ULIP-2, and this project's for the same tensors.

Convolutions with kernels of size 1 become Linear: (C, D, 1) or (C, D, 1, 1) -> (C, D).
"""

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from pointrecon.models.published.encoder import strip_wrappers

UNI3D, OPENSHAPE, ULIP2 = "Uni3D", "OpenShape-PointBERT", "ULIP-2"
MINI_POINTNET = (
    (r"encoder\.first_conv\.0\.", "patches.embed.fc1."),
    (r"encoder\.first_conv\.1\.", "patches.embed.norm1."),
    (r"encoder\.first_conv\.3\.", "patches.embed.fc2."),
    (r"encoder\.second_conv\.0\.", "patches.embed.fc3."),
    (r"encoder\.second_conv\.1\.", "patches.embed.norm2."),
    (r"encoder\.second_conv\.3\.", "patches.embed.fc4."),
    (r"cls_pos$", "cls_position"),
)
# Published -> ours, behind the prefixes below.
RENAMES: Mapping[str, tuple[tuple[str, str], ...]] = {
    UNI3D: (
        *MINI_POINTNET,
        (r"encoder2trans\.", "lift."),
        (r"trans2embed\.", "head."),
        (r"visual\.blocks\.", "blocks."),
        (r"visual\.(fc_)?norm\.", "norm."),  # which of the two is there depends on timm's model; the other is none
    ),
    ULIP2: (
        *MINI_POINTNET,
        (r"reduce_dim\.", "lift."),
        (r"blocks\.blocks\.", "blocks."),
        (r"pc_projection$", "head.weight"),
    ),
    OPENSHAPE: (
        (r"ppat\.sa\.mlp_convs\.", "patches.maps."),
        (r"ppat\.sa\.mlp_bns\.", "patches.norms."),
        (r"ppat\.lift\.0\.", "lift."),
        (r"ppat\.lift\.2\.", "lift_norm."),
        (r"ppat\.cls_token", "cls_token"),
        (r"ppat\.transformer\.layers\.(\d+)\.0\.norm\.", r"blocks.\1.norm1."),
        (r"ppat\.transformer\.layers\.(\d+)\.0\.fn\.to_qkv\.", r"blocks.\1.attn.qkv."),
        (r"ppat\.transformer\.layers\.(\d+)\.0\.fn\.to_out\.0\.", r"blocks.\1.attn.proj."),
        (r"ppat\.transformer\.layers\.(\d+)\.1\.norm\.", r"blocks.\1.norm2."),
        (r"ppat\.transformer\.layers\.(\d+)\.1\.fn\.net\.0\.", r"blocks.\1.mlp.fc1."),
        (r"ppat\.transformer\.layers\.(\d+)\.1\.fn\.net\.3\.", r"blocks.\1.mlp.fc2."),
        (r"proj\.", "head."),
    ),
}
# Of a file and of no use here: the 2D model's own input and output, frozen text networks, the temperature.
UNUSED = re.compile(r"(visual\.(cls_token|pos_embed|patch_embed\.|head\.|rope)|open_clip_model\.|logit_scale$)")


def family_of(keys: Collection[str]) -> str | None:
    """Which encoder the keys of a state dict belong to; None: none of these."""
    if any("trans2embed." in key for key in keys):
        return UNI3D
    if any("ppat." in key for key in keys):
        return OPENSHAPE
    if any("pc_projection" in key for key in keys) and any("reduce_dim." in key for key in keys):
        return ULIP2
    return None


def to_ours(state: Mapping[str, Tensor], family: str) -> tuple[dict[str, Tensor], list[str]]:
    """Renames the tensors of a published file, as float32.

    Returns:
        Our names, queries, keys and values joined; and the keys that are of no use here.

    Raises:
        InputError: The file holds the weights of two networks.
    """
    ours: dict[str, Tensor] = {}
    unused = []
    for key, value in strip_wrappers(state).items():
        key = key.removeprefix("point_encoder.")
        if UNUSED.match(key):
            unused.append(key)
            continue
        for old, new in RENAMES[family]:
            name, count = re.subn(f"^{old}", new, key)
            if count:
                key = name
                break
        ours[key] = value.float() if value.is_floating_point() else value
    ours = {key: _flatten_kernel(value) for key, value in ours.items()}
    if family == ULIP2 and "head.weight" in ours:
        ours["head.weight"] = ours["head.weight"].T.contiguous()
    if "cls_token" in ours:
        ours["cls_token"] = ours["cls_token"].reshape(1, 1, -1)
    return _join_attention(ours), unused


def _flatten_kernel(value: Tensor) -> Tensor:
    while value.dim() > 2 and value.shape[-1] == 1:
        value = value.squeeze(-1)
    return value


def _join_attention(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One map for queries, keys and values, and one for both halves of a gated MLP; keys have no bias of their own."""
    joined = dict(state)
    for key in state:
        if key.endswith(".attn.q_bias"):
            stem = key.removesuffix("q_bias")
            q, v = joined.pop(key), joined.pop(f"{stem}v_bias", None)
            if v is not None:
                joined[f"{stem}qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
        elif key.endswith(".attn.q_proj.weight"):
            stem = key.removesuffix("q_proj.weight")
            parts = [joined.pop(f"{stem}{name}_proj.weight", None) for name in "qkv"]
            biases = [joined.pop(f"{stem}{name}_proj.bias", None) for name in "qkv"]
            weights = [part for part in parts if part is not None]
            if len(weights) == 3:
                joined[f"{stem}qkv.weight"] = torch.cat(weights)
                joined[f"{stem}qkv.bias"] = torch.cat(
                    [torch.zeros(len(w)) if b is None else b for w, b in zip(weights, biases, strict=True)]
                )
        elif ".mlp.fc1_g." in key:
            other = key.replace("fc1_g", "fc1_x")
            if other in joined:
                joined[key.replace("fc1_g", "fc1")] = torch.cat([joined.pop(key), joined.pop(other)])
    return joined
