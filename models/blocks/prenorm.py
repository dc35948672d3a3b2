"""A plain pre-norm block for both streams, with the true residual stream (ReCon++, section 3; ViT).

Shape legend: B batch, Q global queries, T patch tokens, C channels.
"""

from torch import Tensor, nn

from pointrecon.models.blocks import BLOCKS
from pointrecon.models.blocks.layers import Attention, CrossAttention, DropPath, Mlp
from pointrecon.models.blocks.stop import held_back


@BLOCKS.register()
class PreNormBlock(nn.Module):
    """As `ReConBlock`, but what is added to is the stream itself, and queries read what the tokens have become.

    The layers have the names of `ReConBlock`. Those of the tokens compute what a block of Point-MAE does.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio)
        self.norm1_contrast = nn.LayerNorm(dim)
        self.attn_contrast = CrossAttention(dim, num_heads)
        self.norm2_contrast = nn.LayerNorm(dim)
        self.mlp_contrast = Mlp(dim, mlp_ratio)
        self.drop_path = DropPath(drop_path)  # without state: each of the four calls draws anew

    def forward(self, queries: Tensor, tokens: Tensor, stop_grad: float) -> tuple[Tensor, Tensor]:
        """Update both streams.

        Args:
            queries: (B, Q, C), positions added.
            tokens: (B, T, C), positions added.
            stop_grad: share of the gradient from the queries into the tokens that is cut; True is all of it.

        Returns:
            queries (B, Q, C) and tokens (B, T, C).
        """
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))

        source = self.norm1_contrast(held_back(tokens, stop_grad))
        queries = queries + self.drop_path(self.attn_contrast(self.norm1_contrast(queries), source))
        queries = queries + self.drop_path(self.mlp_contrast(self.norm2_contrast(queries)))
        return queries, tokens
