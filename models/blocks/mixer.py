"""A block without attention: gated mixing of patches along a space-filling curve.

Shape legend: B batch, Q global queries, T patch tokens, C channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointrecon.models.blocks import BLOCKS
from pointrecon.models.blocks.layers import DropPath, Mlp
from pointrecon.models.blocks.stop import held_back

KERNEL = 9  # patches along the curve that a patch is mixed with, itself included


@BLOCKS.register()
class MixerBlock(nn.Module):
    """Patches mix with their neighbours on the curve, queries read a summary of all patches.

    The work is linear in the number of patches, and any number of them will do.

    Args:
        dim: width C.
        num_heads: without effect; there is no attention.
        mlp_ratio: hidden width of the MLPs over C.
        drop_path: rate at which branches are dropped for whole samples.

    Attributes:
        is_serialised: the encoder hands tokens over in the order of `patches.serialise.morton_order`.
    """

    is_serialised = True

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.mix = CurveMixer(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio)
        self.norm1_contrast = nn.LayerNorm(dim)
        self.read_contrast = SummaryReader(dim)
        self.norm2_contrast = nn.LayerNorm(dim)
        self.mlp_contrast = Mlp(dim, mlp_ratio)
        self.drop_path = DropPath(drop_path)  # without state: each of the four calls draws anew

    def forward(self, queries: Tensor, tokens: Tensor, stop_grad: float) -> tuple[Tensor, Tensor]:
        """Update both streams.

        Args:
            queries: (B, Q, C), positions added.
            tokens: (B, T, C) along the curve, positions added.
            stop_grad: share of the gradient from the queries into the tokens that is cut; True is all of it.

        Returns:
            queries (B, Q, C) and tokens (B, T, C).
        """
        tokens = tokens + self.drop_path(self.mix(self.norm1(tokens)))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))

        source = self.norm1_contrast(held_back(tokens, stop_grad))
        queries = queries + self.drop_path(self.read_contrast(self.norm1_contrast(queries), source))
        queries = queries + self.drop_path(self.mlp_contrast(self.norm2_contrast(queries)))
        return queries, tokens


class CurveMixer(nn.Module):
    """Each channel is mixed along the curve by a filter of its own, and let through by a gate."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 2 * dim)
        self.along = nn.Conv1d(dim, dim, KERNEL, padding=KERNEL // 2, groups=dim)
        self.fc2 = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        value, gate = self.fc1(tokens).chunk(2, dim=-1)
        return self.fc2(self.along(value.transpose(1, 2)).transpose(1, 2) * F.silu(gate))


class SummaryReader(nn.Module):
    """What each query lets through of the mean and the maximum over all patches."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.value = nn.Linear(2 * dim, dim)
        self.gate = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, source: Tensor) -> Tensor:
        """(B, Q, C), (B, T, C) -> (B, Q, C)."""
        summary = torch.cat([source.mean(dim=1), source.max(dim=1).values], dim=-1)
        return self.proj(self.value(summary).unsqueeze(1) * F.silu(self.gate(queries)))
