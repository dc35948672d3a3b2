"""Blocks of ReCon++: pre-norm with biases, attention masks and, in networks that start from DINOv2, LayerScale.

Shape legend: B batch, T tokens, S source tokens, Q queries, C channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointrecon.models.blocks.layers import Attention, CrossAttention, DropPath, Mlp
from pointrecon.models.blocks.stop import held_back

INITIAL_SCALE = 1e-5  # of a branch, as in DINOv2


class MaskedAttention(Attention):
    """Self-attention in which some tokens may not see others."""

    def forward(self, x: Tensor, first: int = 0, mask: Tensor | None = None) -> Tensor:
        """(B, T, C) -> (B, T - first, C).

        Args:
            x: the tokens.
            first: tokens that are attended to and do not ask.
            mask: (T, T) bool, True = may not attend; None: every token sees all.
        """
        if mask is None:
            return super().forward(x, first)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q[:, :, first:], k, v, attn_mask=~mask[first:])
        return self.proj(seen.transpose(1, 2).flatten(2))


class LayerScale(nn.Module):
    """A learnt factor for each channel of a branch (Touvron et al., 2021)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), INITIAL_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return x * self.gamma


class LocalBlock(nn.Module):
    """x + attn(norm1 x), then x + mlp(norm2 x), as in a ViT; its layers have the names of timm's.

    Args:
        dim: width C.
        num_heads: attention heads; must divide dim.
        mlp_ratio: hidden width of the MLP over C.
        drop_path: rate at which branches are dropped for whole samples.
        layer_scale: each branch has a `LayerScale`.
    """

    def __init__(
        self, dim: int, num_heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0, layer_scale: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = MaskedAttention(dim, num_heads, bias=True)
        self.ls1 = LayerScale(dim) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio)
        self.ls2 = LayerScale(dim) if layer_scale else nn.Identity()
        self.drop_path = DropPath(drop_path)  # without state: each of the two calls draws anew

    def forward(self, x: Tensor, first: int = 0, mask: Tensor | None = None) -> Tensor:
        """(B, T, C) -> (B, T - first, C); arguments as in `MaskedAttention`."""
        x = x[:, first:] + self.drop_path(self.ls1(self.attn(self.norm1(x), first, mask)))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class QueryBlock(nn.Module):
    """Queries read the tokens: as `LocalBlock`, with cross-attention. The queries do not see each other."""

    def __init__(
        self, dim: int, num_heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0, layer_scale: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = CrossAttention(dim, num_heads, bias=True)
        self.ls1 = LayerScale(dim) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio)
        self.ls2 = LayerScale(dim) if layer_scale else nn.Identity()
        self.drop_path = DropPath(drop_path)  # without state: each of the two calls draws anew

    def forward(self, queries: Tensor, source: Tensor) -> Tensor:
        """(B, Q, C), (B, S, C) -> (B, Q, C)."""
        # parity: one norm for the queries and for what they read.
        seen = self.attn(self.norm1(queries), self.norm1(source))
        queries = queries + self.drop_path(self.ls1(seen))
        return queries + self.drop_path(self.ls2(self.mlp(self.norm2(queries))))


class PairedBlock(nn.Module):
    """One depth of the encoder: patches, then the queries that read what the patches have become."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, drop_path: float, layer_scale: bool) -> None:
        super().__init__()
        sizes = (dim, num_heads, mlp_ratio, drop_path, layer_scale)
        self.local = LocalBlock(*sizes)
        self.query = QueryBlock(*sizes)

    def forward(
        self, queries: Tensor | None, tokens: Tensor, stop_grad: float, mask: Tensor | None
    ) -> tuple[Tensor | None, Tensor]:
        """Update both streams.

        Args:
            queries: (B, Q, C); None: the tokens alone are wanted.
            tokens: (B, T, C), positions added.
            stop_grad: share of the gradient from the queries into the tokens that is cut; True is all of it.
            mask: (T, T) bool, True = may not attend, of the tokens.
        """
        tokens = self.local(tokens, mask=mask)
        if queries is not None:
            queries = self.query(queries, held_back(tokens, stop_grad))
        return queries, tokens
