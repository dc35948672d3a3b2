"""The encoder of ReCon++, in both variants.

Shape legend: B batch, N points, G groups, K points per group, ch channels of a point, T patch tokens seen, C channels,
Q queries of all names, e further queries.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from pointrecon.models.blocks.layers import PositionEmbedding, drop_path_rates, init_truncated_normal
from pointrecon.models.encoder import PatchEncoder
from pointrecon.models.patches.masking import Split, take_groups
from pointrecon.models.patches.patch_embed import FoldedPointNet
from pointrecon.models.queries import Queries
from pointrecon.models.reconpp.layers import PairedBlock
from pointrecon.models.reconpp.order import CausalSplit, sine_positions, triangle
from pointrecon.models.reconpp.patches import ColoredGroup, LargePointNet

QUERIES: Mapping[str, int] = MappingProxyType({"image": 13, "text": 3})  # as published for OpenShape's views and texts
CAUSAL = "causal"  # the mask_type that makes the causal variant


class ReConPPEncoder(PatchEncoder):
    """Patches through local blocks, and queries that read each block's outcome (ShapeLLM, section 3; ECCV 2024).

    With `mask_type: causal` patches come in the order of a chain, have fixed positions and see only earlier ones;
    otherwise they have learnt positions and see all that is not hidden.

    Args:
        embed_dim: width C.
        depth: number of blocks.
        num_heads: attention heads; must divide embed_dim.
        num_groups: patches per cloud, G.
        group_size: points per patch, K.
        mlp_ratio: hidden width of the MLPs over C; published 4, and 48/11 at width 1408.
        drop_path: rate of the last block; it rises linearly from 0.
        stop_grad: share of the gradient from the queries into the patch tokens that is cut; True is all of it.
        embed_masked: embed masked patches too; they count in the batch-norm statistics and nowhere else.
        patch_width: hidden width of the small patch embedding.
        queries: how many queries there are of each name; a `cls` query is the classifier's own and not among them.
        mask_type: `causal`, or how patches are hidden.
        large_embedding: the large patch embedding.
        layer_scale: the branches of the blocks have learnt factors, as in DINOv2.
        colors: points have red, green and blue.
        color_fill: each colour of clouds that have none.
        skip_origin: sample centres as the published operation did, see `ColoredGroup`.
    """

    def __init__(
        self,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        num_groups: int = 512,
        group_size: int = 32,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.1,
        stop_grad: float = False,
        embed_masked: bool = True,
        patch_width: int = 512,
        queries: Mapping[str, int] = QUERIES,
        mask_type: str = "random",
        large_embedding: bool = False,
        layer_scale: bool = False,
        colors: bool = False,
        color_fill: float = 0.4,
        skip_origin: bool = False,
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.stop_grad, self.embed_masked = stop_grad, embed_masked
        self.is_causal = mask_type == CAUSAL
        self.channels = 6 if colors else 3
        self.queries = Queries({name: count for name, count in queries.items() if name != "cls"})
        self.group = ColoredGroup(num_groups, group_size, self.channels, self.is_causal, color_fill, skip_origin)
        if large_embedding:
            self.patch_embed = LargePointNet(embed_dim, self.channels)
        else:
            self.patch_embed = FoldedPointNet(embed_dim, patch_width, self.channels)
        if self.is_causal:
            self.start = nn.Parameter(torch.empty(1, 1, embed_dim))
            self.start_position = nn.Parameter(torch.empty(1, 1, embed_dim))
        else:
            self.pos_embed = PositionEmbedding(embed_dim)
        self.global_query = nn.Parameter(torch.empty(1, self.queries.total, embed_dim))
        rates = drop_path_rates(drop_path, depth)
        self.blocks = nn.ModuleList(PairedBlock(embed_dim, num_heads, mlp_ratio, rate, layer_scale) for rate in rates)
        self.norm, self.norm_query = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        # differs from the published code: its Linear weights had the mean 0.02, and its queries started equal.
        self.apply(init_truncated_normal)
        for parameter in (self.global_query, *((self.start, self.start_position) if self.is_causal else ())):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(
        self,
        patches: Tensor,
        centers: Tensor,
        split: Split | CausalSplit | None = None,
        extra: Tensor | None = None,
        is_local: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Encode patches.

        Args:
            patches: (B, G, K, ch) relative to their centres.
            centers: (B, G, 3).
            split: which patches are hidden, or what they see of each other; None shows every patch, in the causal
                variant to later ones.
            extra: (1, e, C), further queries behind the encoder's own.
            is_local: the queries are not wanted.

        Returns:
            queries (B, Q + e, C), of which there is none where they are not wanted, and tokens (B, T, C), both after
            their final norms. Causal: token i knows the patches before i, and nothing of patch i.
        """
        tokens, positions = self._tokens(patches, centers, split)
        mask = self._mask(split, patches)
        if self.is_causal:
            tokens, positions = self._behind_start(tokens[:, :-1], positions[:, :-1])
        queries = None if is_local else self._all_queries(len(patches), extra)
        queries, tokens, _ = self._run(queries, tokens, positions, mask, ())
        if queries is None:
            return tokens[:, :0], self.norm(tokens)
        return self.norm_query(queries), self.norm(tokens)

    def forward_blocks(
        self, patches: Tensor, centers: Tensor, split: None = None, *, keep: Collection[int] = ()
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """What the blocks make of all patches, before the final norms, for heads that label points.

        Args:
            patches: (B, G, K, ch) relative to their centres.
            centers: (B, G, 3).
            split: None; nothing is hidden.
            keep: blocks whose tokens are wanted, counted from 1.

        Returns:
            queries (B, Q, C) and tokens (B, G, C) after the last block, and the tokens after each block of `keep` by
            increasing depth. Causal: token i has read patch i and those before it; the last patch is read too.
        """
        tokens, positions = self._tokens(patches, centers, None)
        first, mask = 0, None
        if self.is_causal:
            tokens, positions = self._behind_start(tokens, positions)
            first, mask = 1, triangle(tokens.shape[1], tokens.device)
        queries, tokens, kept = self._run(self._all_queries(len(patches), None), tokens, positions, mask, keep)
        assert queries is not None
        return queries, tokens[:, first:], [x[:, first:] for x in kept]

    def _tokens(self, patches: Tensor, centers: Tensor, split: Split | CausalSplit | None) -> tuple[Tensor, Tensor]:
        """Embeddings and positions of the patches that are seen."""
        if self.is_causal:
            return self.patch_embed(patches), sine_positions(centers, self.embed_dim)
        visible = split.visible if isinstance(split, Split) else None
        tokens = self.forward_patches(patches, visible)
        return tokens, self.pos_embed(centers if visible is None else take_groups(centers, visible))

    def _behind_start(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        start, place = (x.expand(len(tokens), -1, -1) for x in (self.start, self.start_position))
        return torch.cat([start, tokens], dim=1), torch.cat([place, positions], dim=1)

    def _mask(self, split: Split | CausalSplit | None, patches: Tensor) -> Tensor | None:
        if isinstance(split, CausalSplit):
            return split.attention
        return triangle(patches.shape[1], patches.device) if self.is_causal else None

    def _all_queries(self, batch: int, extra: Tensor | None) -> Tensor:
        queries = self.global_query if extra is None else torch.cat([self.global_query, extra], dim=1)
        return queries.expand(batch, -1, -1)

    def _run(
        self,
        queries: Tensor | None,
        tokens: Tensor,
        positions: Tensor,
        mask: Tensor | None,
        keep: Collection[int],
    ) -> tuple[Tensor | None, Tensor, list[Tensor]]:
        kept = []
        for number, block in enumerate(self.blocks, start=1):
            # parity: positions are added again before every block and stay in the stream.
            queries, tokens = block(queries, tokens + positions, self.stop_grad, mask)
            if number in keep:
                kept.append(tokens)
        return queries, tokens, kept
