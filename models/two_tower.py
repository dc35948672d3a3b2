"""The two-tower baseline: reconstruction and distillation side by side, without a shared token.

Tower 1 is a plain pre-norm masked autoencoder. Tower 2 is a plain pre-norm transformer over two queries and all
patches, with self-attention among everything. The losses are ReCon's.

Shape legend: B batch, N points, G groups, K points per group, T patch tokens seen, E tokens in front, C channels,
Q queries of all names.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pointrecon.models import MODELS
from pointrecon.models.blocks.layers import Block, PositionEmbedding, drop_path_rates, init_truncated_normal
from pointrecon.models.classifier import PointClassifier
from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.encoder import QUERIES, PatchEncoder
from pointrecon.models.patches.grouping import PointGroup
from pointrecon.models.patches.masking import Split, take_groups
from pointrecon.models.patches.patch_embed import FoldedPointNet
from pointrecon.models.queries import Queries
from pointrecon.models.recon import ReCon
from pointrecon.utils.errors import InputError, check_choice

STREAMS = ("all", "local", "global")


class Tower(PatchEncoder):
    """A plain pre-norm transformer over patches, as in Point-MAE.

    Args:
        embed_dim: width C.
        depth: number of blocks.
        num_heads: attention heads; must divide embed_dim.
        mlp_ratio: hidden width of the MLPs over C.
        drop_path: rate of the last block; it rises linearly from 0.
        embed_masked: embed masked patches too; they count in the batch-norm statistics and nowhere else.
        num_queries: learnt tokens E in front of the patches, each with a learnt position.
        patch_width: hidden width of the patch embedding.
    """

    def __init__(
        self,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        drop_path: float,
        embed_masked: bool = True,
        num_queries: int = 0,
        patch_width: int = 512,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.embed_masked = embed_masked
        self.patch_embed = FoldedPointNet(embed_dim, patch_width)
        self.pos_embed = PositionEmbedding(embed_dim)
        rates = drop_path_rates(drop_path, depth)
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads, mlp_ratio, rate) for rate in rates)
        self.norm = nn.LayerNorm(embed_dim)
        self.apply(init_truncated_normal)
        if num_queries:
            self.query_tokens = nn.Parameter(torch.empty(1, num_queries, embed_dim))
            self.query_positions = nn.Parameter(torch.empty(1, num_queries, embed_dim))
            nn.init.trunc_normal_(self.query_tokens, std=0.02)
            nn.init.trunc_normal_(self.query_positions, std=0.02)

    def encode(
        self,
        patches: Tensor,
        centers: Tensor,
        split: Split | None = None,
        front: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Encode the visible patches.

        Args:
            patches: (B, G, K, 3) relative to their centres.
            centers: (B, G, 3).
            split: which patches are hidden; None shows every patch.
            front: tokens and positions (1, E, C) in front of the patches.

        Returns:
            (B, E + T, C) after the final norm.
        """
        visible = None if split is None else split.visible
        x = self.forward_patches(patches, visible)
        positions = self.pos_embed(centers if visible is None else take_groups(centers, visible))
        if front is not None:
            tokens, places = (part.expand(len(x), -1, -1) for part in front)
            x, positions = torch.cat([tokens, x], dim=1), torch.cat([places, positions], dim=1)
        for block in self.blocks:
            # parity: positions are added again before every block.
            x = block(x + positions)
        return self.norm(x)


class TwoTowerEncoder(Tower):
    """Tower 1, with tower 2 beside it as `contrast_tower`. They share the patches and nothing else.

    Args:
        embed_dim: width C of both.
        depth: blocks of each.
        num_heads: attention heads of both.
        num_groups: patches per cloud, G.
        group_size: points per patch, K.
        mlp_ratio: hidden width of the MLPs over C.
        drop_path: rate of the last block; it rises linearly from 0.
        stop_grad: without effect: the teachers reach no token of tower 1 anyway.
        embed_masked: of tower 1; tower 2 sees all patches.
        patch_width: hidden width of both patch embeddings.
        queries: of tower 2, how many of each name; it has no cls query.
        class_token: tower 1 has a class token in front of its patches, as ACT's encoder; it is not returned.
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
        class_token: bool = False,
    ) -> None:
        sizes = (embed_dim, depth, num_heads, mlp_ratio, drop_path)
        super().__init__(*sizes, embed_masked=embed_masked, patch_width=patch_width)
        self.queries = Queries({name: count for name, count in queries.items() if name != "cls"})
        self.group = PointGroup(num_groups, group_size)
        self.contrast_tower = Tower(*sizes, num_queries=self.queries.total, patch_width=patch_width)
        self.class_token = class_token
        if class_token:
            self.cls_token, self.cls_position = (nn.Parameter(torch.empty(1, 1, embed_dim)) for _ in range(2))
            nn.init.trunc_normal_(self.cls_token, std=0.02)
            nn.init.trunc_normal_(self.cls_position, std=0.02)

    def forward(self, patches: Tensor, centers: Tensor, split: Split | None = None) -> tuple[Tensor, Tensor]:
        """As `PointEncoder`: queries (B, Q, C) of tower 2 and tokens (B, T, C) of tower 1."""
        front = (self.cls_token, self.cls_position) if self.class_token else None
        tokens = self.encode(patches, centers, split, front)
        return self.forward_queries(patches, centers), tokens[:, 1:] if self.class_token else tokens

    def forward_queries(self, patches: Tensor, centers: Tensor) -> Tensor:
        """Tower 2: (B, G, K, 3), (B, G, 3) -> queries (B, Q, C)."""
        tower = self.contrast_tower
        front = (tower.query_tokens, tower.query_positions)
        return tower.encode(patches, centers, front=front)[:, : self.queries.total]

    def forward_tokens(self, patches: Tensor, centers: Tensor, front: tuple[Tensor, Tensor]) -> Tensor:
        """Tower 1 with tokens in front: (B, G, K, 3), (B, G, 3) -> (B, E + G, C)."""
        return self.encode(patches, centers, front=front)


class TwoTowerClassifier(PointClassifier):
    """Both towers, or one of them, and a classification head.

    Args:
        encoder: the towers.
        num_classes: number of logits.
        head: `linear` or `mlp3`.
        dropout: rate in the mlp3 head.
        freeze_backbone: train the head alone, as in `PointClassifier`; the class token does not move either.
        is_leaky: freeze as the published code did: the class token learns, running statistics move, drop-path acts.
        stream: `all`, `local` (tower 1) or `global` (tower 2); the other one is not run.

    Raises:
        InputError: another stream, or fewer than three patches per cloud.

    Attributes:
        may_lack: the class token of tower 1, which pretraining has no use for, so that its files have none.
    """

    encoder: TwoTowerEncoder
    may_lack = ("cls_token", "cls_position")

    def __init__(
        self,
        encoder: TwoTowerEncoder,
        num_classes: int,
        head: str = "mlp3",
        dropout: float = 0.5,
        freeze_backbone: bool = False,
        is_leaky: bool = False,
        stream: str = "all",
    ) -> None:
        check_choice("classifier.stream", stream, STREAMS)
        self.stream = stream
        if encoder.group.num_groups < 3:
            raise InputError(f"model.num_groups is {encoder.group.num_groups}, but two towers need at least 3")
        super().__init__(encoder, num_classes, head, dropout, freeze_backbone)
        # differs from the published code: its frozen towers still moved statistics, drop-path and the class token.
        self.is_frozen = freeze_backbone and not is_leaky
        self.cls_token = nn.Parameter(torch.empty(1, 1, encoder.embed_dim), requires_grad=not self.is_frozen)
        self.cls_position = nn.Parameter(torch.empty(1, 1, encoder.embed_dim), requires_grad=not self.is_frozen)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.cls_position, std=0.02)
        self.train()

    def feature_dim(self, encoder: PatchEncoder) -> int:
        """How wide what the head reads is: two vectors of tower 1, one for each name of tower 2's queries."""
        num_names = len(encoder.queries.counts)
        return {"all": 2 + num_names, "local": 2, "global": num_names}[self.stream] * encoder.embed_dim

    def forward_feature(self, points: Tensor) -> Tensor:
        """(B, N, 3) -> [first token, maximum over tokens from the fourth on, image, text] or a part of it."""
        patches, centers = self.encoder.group(points)
        parts = []
        if self.stream != "global":
            tokens = self.encoder.forward_tokens(patches, centers, (self.cls_token, self.cls_position))
            # parity: the maximum starts at the fourth token as in ReCon, and so leaves out the first two patches.
            parts += [tokens[:, 0], tokens[:, 3:].max(dim=1).values]
        if self.stream != "local":
            queries = self.encoder.forward_queries(patches, centers)
            parts.append(self.encoder.queries.pool(queries).flatten(1))
        return torch.cat(parts, dim=-1)


@MODELS.register()
class TwoTower(ReCon):
    """Pretraining of the two towers; arguments and losses as in `ReCon`, without the class-wise contrastive one."""

    encoder_class = TwoTowerEncoder
    classifier_class = TwoTowerClassifier

    def __init__(self, encoder: TwoTowerEncoder, decoder: MaskedDecoder, **options: Any) -> None:
        if options.get("contrast") is not None:
            raise InputError(
                "loss.contrast.weight is not 0, but the class-wise contrast reads the cls query, which two towers do "
                "not have; set loss.contrast.weight=0 or model.type=ReCon"
            )
        super().__init__(encoder, decoder, **options)
