"""What Uni3D, OpenShape-PointBERT and ULIP-2 are forms of: patches, one class token, pre-norm blocks, a head.

Shape legend: B batch, N points, G patches, T = G + 1 tokens, C channels, W width of a patch feature, E shared space.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from pointrecon.models.blocks.layers import PositionEmbedding
from pointrecon.models.open.blocks import BlockShape, OpenBlock
from pointrecon.models.open.patches import BallPatches, NearestPatches
from pointrecon.models.open.recipes import Recipe
from pointrecon.utils.errors import check_choice

POSITIONS = ("once", "every", "none")  # added before the first block, before every block, or never
READS = ("class", "class_max")


@dataclass(frozen=True)
class OpenFeatures:
    """What the encoder makes of clouds.

    Attributes:
        embedding: (B, E) in the space of the text teacher, not normalised.
        queries: (B, 1, C), the class token after the last norm.
        tokens: (B, G, C), the patches after the last norm.
        centers: (B, G, 3), where the patches are.
    """

    embedding: Tensor
    queries: Tensor
    tokens: Tensor
    centers: Tensor


class OpenEncoder(nn.Module):
    """Embeds coloured clouds in the space of a text teacher.

    Args:
        patches: `NearestPatches` or `BallPatches`, which give features W wide.
        width: W.
        block: Of every layer.
        depth: Number of layers.
        out_dim: E.
        positions: One of `POSITIONS`.
        reads: What the head sees: the class token, or it beside the maximum over all other tokens.
        lifts_centers: The map W -> C sees the centre too, in front, and a LayerNorm follows it (OpenShape).
        has_norm: A LayerNorm follows the last block.
        head_bias: The head has a bias.
        recipe: How it wants its clouds; None: as Uni3D does.
    """

    def __init__(
        self,
        patches: NearestPatches | BallPatches,
        width: int,
        block: BlockShape,
        depth: int,
        out_dim: int,
        *,
        positions: str = "once",
        reads: str = "class",
        lifts_centers: bool = False,
        has_norm: bool = True,
        head_bias: bool = True,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__()
        check_choice("positions", positions, POSITIONS)
        check_choice("reads", reads, READS)
        dim = block.dim
        self.embed_dim, self.out_dim, self.num_heads = dim, out_dim, block.num_heads
        self.positions, self.reads, self.lifts_centers = positions, reads, lifts_centers
        self.recipe = recipe or Recipe()
        self.patches = patches
        self.lift = nn.Linear(width + (3 if lifts_centers else 0), dim)
        self.lift_norm = nn.LayerNorm(dim) if lifts_centers else nn.Identity()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        if positions != "none":
            self.cls_position = nn.Parameter(torch.zeros(1, 1, dim))
            self.pos_embed = PositionEmbedding(dim)
        self.blocks = nn.ModuleList(OpenBlock(block) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=block.eps) if has_norm else nn.Identity()
        self.head = nn.Linear(dim * (2 if reads == "class_max" else 1), out_dim, bias=head_bias)

    def forward(self, points: Tensor) -> Tensor:
        """(B, N, 6) prepared points and colours -> (B, E), not normalised."""
        return self.encode(points).embedding

    def embed(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 6) -> queries (B, 1, C) and tokens (B, G, C), as every encoder of this project gives them."""
        features = self.encode(points)
        return features.queries, features.tokens

    def encode(self, points: Tensor) -> OpenFeatures:
        """Everything of (B, N, 6) clouds that is prepared as the encoder's recipe says."""
        centers, tokens = self.tokenize(points)
        x = self.transform(centers, tokens)
        return OpenFeatures(self.head(self.feature(x)), x[:, :1], x[:, 1:], centers)

    def from_patches(self, patches: Tensor, centers: Tensor) -> Tensor:
        """Points of the patches (B, G, K, 6) and centres (B, G, 3) -> (B, E)."""
        tokens = self.lift_up(centers, self.patches.describe(patches, centers))
        return self.head(self.feature(self.transform(centers, tokens)))

    def transform(self, centers: Tensor, tokens: Tensor) -> Tensor:
        """Centres (B, G, 3) and tokens (B, G, C) -> (B, T, C) after the last norm, the class token first."""
        x, positions = self.start(centers, tokens)
        for block in self.blocks:
            x = block(x + positions if self.positions == "every" else x)
        return self.norm(x)

    query_names = ("class",)

    def attention(self, points: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """How the class token and the patches divide their attention over the patches, block after block.

        Args:
            points: (B, N, 6).

        Yields:
            Centres (B, G, 3); of the class token (B, H, 1, G); of the patches (B, H, G, G). What is missing of a row's
            sum of 1 is on the class token.
        """
        centers, tokens = self.tokenize(points)
        x, positions = self.start(centers, tokens)
        for module in self.blocks:
            block = cast(OpenBlock, module)
            x = x + positions if self.positions == "every" else x
            weights = block.attn.weights(block.norm1(x))
            yield centers, weights[:, :, :1, 1:], weights[:, :, 1:, 1:]
            x = block(x)

    def tokenize(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 6) -> centres (B, G, 3) and tokens (B, G, C) without positions."""
        centers, features = self.patches(points)
        return centers, self.lift_up(centers, features)

    def lift_up(self, centers: Tensor, features: Tensor) -> Tensor:
        """Features of the patches (B, G, W) -> tokens (B, G, C) without positions."""
        if self.lifts_centers:
            features = torch.cat([centers.to(features.dtype), features], dim=-1)
        return self.lift_norm(self.lift(features))

    def start(self, centers: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What the first block sees (B, T, C), and the positions (B, T, C) for those that add them in every block."""
        batch = len(tokens)
        x = torch.cat([self.cls_token.expand(batch, -1, -1).to(tokens.dtype), tokens], dim=1)
        if self.positions == "none":
            return x, torch.zeros_like(x[:1])
        positions = torch.cat([self.cls_position.expand(batch, -1, -1), self.pos_embed(centers)], dim=1)
        return (x + positions if self.positions == "once" else x), positions

    def feature(self, x: Tensor) -> Tensor:
        """(B, T, C) after the norm -> what the head sees."""
        first = x[:, 0]
        return first if self.reads == "class" else torch.cat([first, x[:, 1:].amax(dim=1)], dim=-1)
