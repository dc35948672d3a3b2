"""Where a network looks: attention of the queries over the patches, and how far the patches look, by layer.

Shape legend: B shapes, N points, G patches, Q queries, L layers, H heads, C channels.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointrecon.models.blocks.layers import Attention as SelfAttention
from pointrecon.models.blocks.layers import CrossAttention
from pointrecon.utils.errors import InputError


@dataclass
class Attention:
    """What `ShapeModel.attention` gives, all float32.

    Attributes:
        ids: Path or place in the input, B of them.
        query_names: Of the Q queries, in their order: cls, image, text.
        positions: (B, G, 3) centres of the patches; the cloud is centred and in the unit sphere, +y up.
        queries: (B, L, H, Q, G) share of a query's attention that a patch gets; over the patches it sums to 1, or in
            two-tower networks, whose queries also see each other, to at most 1.
        patches: (B, L, G, G) of the local stream, mean over the heads: row i is how patch i divides its attention.
        distance: (B, L, H) mean distance from a patch to what it attends to, in radii of the shape: how far the local
            stream looks.
        spread: (B, L, H, Q) mean distance between two patches drawn by a query's attention, in radii of the shape: 0
            where a query looks at one patch.
        skipped: id -> why a file could not be read.
    """

    ids: list[str]
    query_names: list[str]
    positions: np.ndarray
    queries: np.ndarray
    patches: np.ndarray
    distance: np.ndarray
    spread: np.ndarray
    skipped: dict[str, str] = field(default_factory=dict)


def query_names_of(encoder: Any) -> list[str]:
    """The name of each query: `image`, or of several `image 0`, `image 1`."""
    counts = encoder.queries.counts.items()
    return [name if count == 1 else f"{name} {row}" for name, count in counts for row in range(count)]


@torch.inference_mode()
def attend(encoder: Any, points: Tensor) -> dict[str, np.ndarray]:
    """Runs an encoder and keeps its attention.

    Args:
        encoder: In evaluation mode.
        points: (B, N, 3) in the unit sphere.

    Returns:
        The arrays of `Attention`.

    Raises:
        InputError: The encoder has no attention in one of its streams.
    """
    tower = getattr(encoder, "contrast_tower", None)
    local = [module for name, module in _attentions(encoder, SelfAttention) if "contrast" not in name]
    seers = [module for _, module in _attentions(encoder, CrossAttention if tower is None else SelfAttention)]
    seers = [module for module in seers if module not in local]
    if not local or not seers:
        raise InputError(
            f"blocks of the type {encoder.blocks[0]._get_name()} have no attention; give a network with "
            "model.block=ReConBlock or PreNormBlock"
        )
    maps: dict[nn.Module, Tensor] = {}
    hooks = [module.register_forward_hook(_keep_in(maps)) for module in (*local, *seers)]
    try:
        patches, centers = encoder.group(points)
        encoder(patches, centers)
    finally:
        for hook in hooks:
            hook.remove()
    num_queries, num_patches = encoder.queries.total, centers.shape[1]
    among = torch.stack([maps[module][..., -num_patches:, -num_patches:] for module in local], dim=1)
    by_query = torch.stack([maps[module][..., :num_queries, -num_patches:] for module in seers], dim=1)
    far = torch.cdist(centers, centers)[:, None, None]
    share = by_query / by_query.sum(dim=-1, keepdim=True)
    arrays = {
        "positions": centers,
        "queries": by_query,
        "patches": among.mean(dim=2),
        "distance": (among * far).sum(dim=-1).mean(dim=-1),
        "spread": ((share @ far) * share).sum(dim=-1),
    }
    return {name: array.float().cpu().numpy() for name, array in arrays.items()}


def _attentions(encoder: Any, kind: type[nn.Module]) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in encoder.named_modules() if type(module) is kind]


def _keep_in(maps: dict[nn.Module, Tensor]) -> Any:
    def keep(module: Any, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        if isinstance(module, CrossAttention):
            q, kv = module.q(inputs[0]), module.kv(inputs[1])
            query, key = (_heads(x, module.num_heads) for x in (q, kv[..., : q.shape[-1]]))
        else:
            query, key, _value = (_heads(x, module.num_heads) for x in module.qkv(inputs[0]).chunk(3, dim=-1))
        maps[module] = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).float().softmax(dim=-1)

    return keep


def _heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, T, C) -> (B, H, T, C / H)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)
