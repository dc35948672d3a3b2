"""The encoder.

Shape legend: B batch, N points, G groups, K points per group, T patch tokens seen, C channels, Q queries of all names.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from pointrecon.models.blocks import BLOCKS
from pointrecon.models.blocks.layers import PositionEmbedding, drop_path_rates, init_truncated_normal
from pointrecon.models.patches.grouping import PointGroup
from pointrecon.models.patches.masking import Split, take_groups
from pointrecon.models.patches.patch_embed import FoldedPointNet
from pointrecon.models.patches.serialise import morton_order
from pointrecon.models.queries import Queries
from pointrecon.utils.errors import InputError

QUERIES: Mapping[str, int] = MappingProxyType({"cls": 1, "image": 1, "text": 1})  # as published


class PatchEncoder(nn.Module):
    """What encoders have in common: patches become tokens, and a network makes something of those that are seen.

    Attributes:
        embed_dim: width C.
        num_heads: attention heads.
        embed_masked: embed hidden patches too; they count in the batch-norm statistics and nowhere else.
        queries: where each name's queries stand among all.
        group: cuts clouds into patches.
        patch_embed: patches -> tokens.
    """

    embed_dim: int
    num_heads: int
    embed_masked: bool
    queries: Queries
    group: PointGroup
    patch_embed: FoldedPointNet

    def forward_patches(self, patches: Tensor, visible: Tensor | None) -> Tensor:
        """(B, G, K, 3), (B, T) int64 -> (B, T, C) embeddings of the visible patches."""
        if visible is None or self.embed_masked:
            return self.patch_embed(patches, visible)
        return self.patch_embed(take_groups(patches, visible))

    def embed(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Group and encode whole clouds: (B, N, 3) -> queries (B, Q, C), tokens (B, G, C)."""
        return self(*self.group(points))


class PointEncoder(PatchEncoder):
    """Patches and global queries through a stack of blocks (ReCon, section 3).

    Args:
        embed_dim: width C.
        depth: number of blocks.
        num_heads: attention heads; must divide embed_dim.
        num_groups: patches per cloud, G.
        group_size: points per patch, K.
        mlp_ratio: hidden width of the MLPs over C.
        drop_path: rate of the last block; it rises linearly from 0.
        stop_grad: share of the gradient from the queries into the patch tokens that is cut (pretraining); True is all.
        embed_masked: embed masked patches too; they count in the batch-norm statistics and nowhere else.
        patch_width: hidden width of the patch embedding.
        queries: how many queries there are of each name.
        block: one of BLOCKS, or `package.module:Name`.

    Raises:
        InputError: stop_grad for a block that has one stream.
    """

    def __init__(
        self,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        num_groups: int = 64,
        group_size: int = 32,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.1,
        stop_grad: float = False,
        embed_masked: bool = True,
        patch_width: int = 512,
        queries: Mapping[str, int] = QUERIES,
        block: str = "ReConBlock",
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.stop_grad = stop_grad
        self.embed_masked = embed_masked
        self.queries = Queries(queries)
        self.block = block
        self.group = PointGroup(num_groups, group_size)
        self.patch_embed = FoldedPointNet(embed_dim, patch_width)
        self.pos_embed = PositionEmbedding(embed_dim)
        self.query_tokens = nn.Parameter(torch.empty(1, self.queries.total, embed_dim))
        self.query_positions = nn.Parameter(torch.empty(1, self.queries.total, embed_dim))
        make_block = BLOCKS.get(block)
        if stop_grad and not getattr(make_block, "may_stop", True):
            raise InputError(
                f"model.stop_grad is true, but model.block={block} has one stream and nothing to stop; give "
                "model.stop_grad=false"
            )
        self.is_serialised = getattr(make_block, "is_serialised", False)
        rates = drop_path_rates(drop_path, depth)
        self.blocks = nn.ModuleList(make_block(embed_dim, num_heads, mlp_ratio, rate) for rate in rates)
        self.norm = nn.LayerNorm(embed_dim)  # shared by queries and patches
        self.apply(init_truncated_normal)
        nn.init.trunc_normal_(self.query_tokens, std=0.02)
        nn.init.trunc_normal_(self.query_positions, std=0.02)

    def forward(self, patches: Tensor, centers: Tensor, split: Split | None = None) -> tuple[Tensor, Tensor]:
        """Encode the visible patches.

        Args:
            patches: (B, G, K, 3) relative to their centres.
            centers: (B, G, 3).
            split: which patches are hidden; None shows every patch.

        Returns:
            queries (B, Q, C) in the order of `queries` and tokens (B, T, C) in the order of the group index, both
            after the final norm.
        """
        queries, tokens, _ = self.forward_blocks(patches, centers, split)
        return self.norm(queries), self.norm(tokens)

    def forward_blocks(
        self, patches: Tensor, centers: Tensor, split: Split | None = None, *, keep: Collection[int] = ()
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """What the blocks make of the visible patches, before the final norm.

        Args:
            patches: (B, G, K, 3) relative to their centres.
            centers: (B, G, 3).
            split: which patches are hidden, as in `forward`.
            keep: blocks whose tokens are wanted, counted from 1.

        Returns:
            queries (B, Q, C) and tokens (B, T, C) after the last block, and the tokens after each block of `keep` by
            increasing depth.
        """
        visible = None if split is None else split.visible
        tokens = self.forward_patches(patches, visible)
        seen = centers if visible is None else take_groups(centers, visible)
        positions = self.pos_embed(seen)
        order = morton_order(seen) if self.is_serialised else None
        if order is not None:
            tokens, positions = take_groups(tokens, order), take_groups(positions, order)
        queries = self.query_tokens.expand(len(patches), -1, -1)
        kept = []
        for number, block in enumerate(self.blocks, start=1):
            # parity: positions are added again before every block.
            queries, tokens = block(queries + self.query_positions, tokens + positions, self.stop_grad)
            if number in keep:
                kept.append(tokens)
        if order is not None:
            back = order.argsort(dim=1)
            tokens, kept = take_groups(tokens, back), [take_groups(x, back) for x in kept]
        return queries, tokens, kept
