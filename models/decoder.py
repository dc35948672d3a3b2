"""The reconstruction decoder.

Shape legend: B batch, G groups, K points per group, M masked groups, T visible tokens, C channels.
"""

import torch
from torch import Tensor, nn

from pointrecon.models.blocks.layers import Block, PositionEmbedding, drop_path_rates, init_xavier
from pointrecon.models.patches.masking import Split, take_groups


class MaskedDecoder(nn.Module):
    """Predicts the masked patches from the visible tokens (Point-MAE, section 3.3).

    Args:
        embed_dim: width C, that of the encoder.
        depth: number of blocks.
        num_heads: attention heads.
        group_size: points per patch, K.
        mlp_ratio: hidden width of the MLPs over C.
        drop_path: rate of the last block; it rises linearly from 0.
    """

    def __init__(
        self,
        embed_dim: int = 384,
        depth: int = 4,
        num_heads: int = 6,
        group_size: int = 32,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.mask_token = nn.Parameter(torch.empty(1, 1, embed_dim))
        self.pos_embed = PositionEmbedding(embed_dim)
        rates = drop_path_rates(drop_path, depth)
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads, mlp_ratio, rate) for rate in rates)
        self.norm = nn.LayerNorm(embed_dim)
        self.blocks.apply(init_xavier)
        self.coords = nn.Linear(embed_dim, 3 * group_size)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, centers: Tensor, split: Split) -> Tensor:
        """Reconstruct.

        Args:
            tokens: (B, T, C) of the visible patches, in the order of the group index.
            centers: (B, G, 3).
            split: which patches are hidden.

        Returns:
            (B, M, K, 3) masked patches relative to their centres, in the order of the group index.
        """
        num_visible = tokens.shape[1]
        ordered = take_groups(centers, torch.cat(split, dim=1))
        positions = self.pos_embed(ordered)
        masked = self.mask_token.expand(len(tokens), ordered.shape[1] - num_visible, -1)
        x = torch.cat([tokens, masked], dim=1)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x + positions)
        x = self.norm(last(x + positions, first=num_visible))  # what is made of visible tokens there is not read
        return self.coords(x).unflatten(-1, (-1, 3))
