"""The reconstruction decoder of ReCon++, in both variants.

Shape legend: B batch, G groups, K points per group, ch channels of a point, M rebuilt groups, T tokens, C channels.
"""

import torch
from torch import Tensor, nn

from pointrecon.models.blocks.layers import PositionEmbedding, drop_path_rates, init_truncated_normal
from pointrecon.models.patches.masking import Split, take_groups
from pointrecon.models.reconpp.encoder import CAUSAL
from pointrecon.models.reconpp.layers import LocalBlock
from pointrecon.models.reconpp.order import CausalSplit, chain_directions, sine_positions


class ReConPPDecoder(nn.Module):
    """Predicts hidden patches from visible tokens, or each patch of a chain from those before it.

    Args:
        embed_dim: width C, that of the encoder.
        depth: number of blocks; their MLPs are 4 C wide at every size.
        num_heads: attention heads.
        group_size: points per patch, K.
        drop_path: rate of the last block; it rises linearly from 0.
        mask_type: of the encoder.
        colors: rebuild red, green and blue too.
    """

    def __init__(
        self,
        embed_dim: int = 384,
        depth: int = 4,
        num_heads: int = 6,
        group_size: int = 32,
        drop_path: float = 0.0,
        mask_type: str = "random",
        colors: bool = False,
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.channels = 6 if colors else 3
        if mask_type != CAUSAL:
            self.mask_token = nn.Parameter(torch.empty(1, 1, embed_dim))
            self.pos_embed = PositionEmbedding(embed_dim)
            nn.init.trunc_normal_(self.mask_token, std=0.02)
        rates = drop_path_rates(drop_path, depth)
        self.blocks = nn.ModuleList(LocalBlock(embed_dim, num_heads, drop_path=rate) for rate in rates)
        self.norm = nn.LayerNorm(embed_dim)
        self.coords = nn.Linear(embed_dim, self.channels * group_size)
        self.apply(init_truncated_normal)

    def forward(self, tokens: Tensor, centers: Tensor, split: Split | CausalSplit) -> Tensor:
        """Reconstruct.

        Args:
            tokens: (B, T, C) of the encoder.
            centers: (B, G, 3).
            split: what the encoder saw.

        Returns:
            (B, M, K, ch) relative to their centres: the hidden patches in the order of the group index, or all patches
            of the chain.
        """
        if isinstance(split, CausalSplit):
            positions = sine_positions(chain_directions(centers), self.embed_dim)
            x, first, mask = tokens, 0, split.attention
        else:
            first, mask = tokens.shape[1], None
            positions = self.pos_embed(take_groups(centers, torch.cat(split, dim=1)))
            x = torch.cat([tokens, self.mask_token.expand(len(tokens), positions.shape[1] - first, -1)], dim=1)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x + positions, mask=mask)
        x = self.norm(last(x + positions, first=first, mask=mask))  # what is made of visible tokens is not read
        return self.coords(x).unflatten(-1, (-1, self.channels))
