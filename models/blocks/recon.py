"""The ReCon block: reconstruction guides contrast through cross-attention, and contrast never disturbs it.

Shape legend: B batch, Q global queries, T patch tokens, C channels.
"""

from torch import Tensor, nn

from pointrecon.models.blocks import BLOCKS
from pointrecon.models.blocks.layers import Attention, CrossAttention, DropPath, Mlp
from pointrecon.models.blocks.stop import held_back


@BLOCKS.register()
class ReConBlock(nn.Module):
    """A local stream of patch tokens and a stream of global queries that reads it (ReCon, section 3.2)."""

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
        # parity: the normalised value itself is the residual stream, neither pre-norm nor post-norm.
        tokens, queries = self.norm1(tokens), self.norm1_contrast(queries)
        source = held_back(tokens, stop_grad)
        queries = queries + self.drop_path(self.attn_contrast(queries, source))
        tokens = tokens + self.drop_path(self.attn(tokens))

        tokens, queries = self.norm2(tokens), self.norm2_contrast(queries)
        queries = queries + self.drop_path(self.mlp_contrast(queries))
        tokens = tokens + self.drop_path(self.mlp(tokens))
        return queries, tokens
