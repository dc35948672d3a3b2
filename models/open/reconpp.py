"""ReCon++ as an open-vocabulary encoder, with the methods of `OpenEncoder`.

Shape legend: B batch, N points, G patches, K points per patch, Q queries, H heads, C channels, E shared space.
"""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointrecon.models.open.encoder import OpenFeatures
from pointrecon.models.open.recipes import Recipe
from pointrecon.models.reconpp.layers import PairedBlock
from pointrecon.models.reconpp.network import ReConPP
from pointrecon.models.reconpp.patches import ColoredGroup


class OpenReConPP(nn.Module):
    """Mean image token plus `ratio` times the mean text token, each projected and of unit length.

    Args:
        network: With projections of images and texts into one space.
        num_points: How many points of a cloud it was trained on.
        ratio: Published 0.5, and 0.3 on ScanObjectNN, where it was chosen by its result.
    """

    def __init__(self, network: ReConPP, num_points: int, ratio: float = 0.5) -> None:
        super().__init__()
        self.network, self.ratio = network, ratio
        self.encoder: Any = network.encoder
        self.patches: Any = self.encoder.group
        self.recipe = Recipe(
            num_points=num_points, fill=float(cast(ColoredGroup, self.patches).color_fill), has_guard=True
        )
        self.blocks = self.encoder.blocks
        self.embed_dim, self.out_dim = int(self.encoder.embed_dim), int(network.teachers["text"].dim)
        self.num_heads = int(self.encoder.num_heads)

    @staticmethod
    def can_wrap(network: nn.Module) -> bool:
        """Whether a network is of this kind, with both projections into one space."""
        if not isinstance(network, ReConPP):
            return False
        dims = {network.teachers[name].dim if name in network.teachers else None for name in ("image", "text")}
        return len(dims) == 1 and None not in dims

    @property
    def query_names(self) -> list[str]:
        """Of the queries, in their order."""
        counts = self.encoder.queries.counts.items()
        return [name if count == 1 else f"{name} {row}" for name, count in counts for row in range(count)]

    def forward(self, points: Tensor) -> Tensor:
        """(B, N, 6) prepared points and colours -> (B, E), not normalised."""
        return self.encode(points).embedding

    def embed(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 6) -> queries (B, Q, C) and tokens (B, G, C)."""
        features = self.encode(points)
        return features.queries, features.tokens

    def encode(self, points: Tensor) -> OpenFeatures:
        """Everything of (B, N, 6) clouds; of the causal variant, tokens are in the order of its chain."""
        patches, centers = self.patches(points)
        queries, tokens = self.encoder(patches, centers)
        return OpenFeatures(self.join(queries), queries, tokens, centers)

    def join(self, queries: Tensor) -> Tensor:
        """Queries (B, Q, C) -> (B, E)."""
        means = {
            name: F.normalize(x if x.dim() == 3 else x.unsqueeze(1), dim=-1).mean(dim=1)
            for name, x in self.network.project(queries).items()
        }
        return means["image"] + self.ratio * means["text"]

    def from_patches(self, patches: Tensor, centers: Tensor) -> Tensor:
        """Points of the patches (B, G, K, 6) and centres (B, G, 3) -> (B, E); not for the causal variant."""
        patches = torch.cat([patches[..., :3] - centers.unsqueeze(2), patches[..., 3:]], dim=-1)
        queries, _ = self.encoder(patches[..., : self.encoder.channels], centers)
        return self.join(queries)

    def attention(self, points: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """How queries and patches divide their attention over the patches, block after block.

        Args:
            points: (B, N, 6).

        Yields:
            Centres (B, G, 3); of the queries (B, H, Q, G); of the patches (B, H, G, G). The causal variant never sees
            its last patch, whose shares are 0, and the rest of a row is on the start token.
        """
        seen: list[tuple[nn.Module, tuple[Tensor, ...], dict[str, Any]]] = []

        def keep(module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Any], _: Tensor) -> None:
            seen.append((module, inputs, options))

        blocks = [cast(PairedBlock, block) for block in self.encoder.blocks]
        parts = [part for block in blocks for part in (block.local.attn, block.query.attn)]
        hooks = [part.register_forward_hook(keep, with_kwargs=True) for part in parts]
        try:
            patches, centers = self.patches(points)
            self.encoder(patches, centers)
        finally:
            for hook in hooks:
                hook.remove()
        for local, query in zip(seen[::2], seen[1::2], strict=True):
            yield centers, self._on_patches(_query_weights(*query)), self._among(_local_weights(*local))

    def _on_patches(self, weights: Tensor) -> Tensor:
        """(..., start and G - 1 patches) -> (..., G) of the causal variant."""
        return F.pad(weights[..., 1:], (0, 1)) if self.encoder.is_causal else weights

    def _among(self, weights: Tensor) -> Tensor:
        if not self.encoder.is_causal:
            return weights
        return F.pad(weights[..., 1:, 1:], (0, 1, 0, 1))


def _local_weights(module: Any, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> Tensor:
    q, k, _ = module.qkv(inputs[0]).unflatten(-1, (3, module.num_heads, -1)).permute(2, 0, 3, 1, 4)
    mask = inputs[2] if len(inputs) > 2 else options.get("mask")
    scores = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).float()
    return (scores if mask is None else scores.masked_fill(mask, float("-inf"))).softmax(dim=-1)


def _query_weights(module: Any, inputs: tuple[Tensor, ...], _: dict[str, Any]) -> Tensor:
    q = module.q(inputs[0]).unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
    k = module.kv(inputs[1]).unflatten(-1, (2, module.num_heads, -1))[:, :, 0].transpose(1, 2)
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).float().softmax(dim=-1)
