"""The part segmenter: the encoder without stop-gradient, all patches visible, and a head that labels every point.

Shape legend: B batch, N points, G groups, K points per group, C width of the encoder, L features of the patches
(C for each block that is read), P parts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointrecon.extensions import ops
from pointrecon.models.blocks.batch_norm import BatchNorm1d, norm_relu
from pointrecon.models.blocks.layers import Dropout, init_truncated_normal
from pointrecon.models.encoder import PointEncoder
from pointrecon.utils.errors import InputError

CATEGORY_DIM = 64
LOCAL_DIM = 1024


class PointSegmenter(nn.Module):
    """Encoder and segmentation head.

    Args:
        encoder: its stop_grad should be off.
        num_classes: categories of the objects; the network is told which one it sees.
        num_parts: number of logits a point.
        feature_blocks: blocks of the encoder whose tokens the head reads, counted from 1; empty: those at each third
            of the depth.
        dropout: rate in the head.

    Raises:
        InputError: a feature block that the encoder does not have.
    """

    def __init__(
        self,
        encoder: PointEncoder,
        num_classes: int,
        num_parts: int,
        feature_blocks: Sequence[int] = (),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.feature_blocks = choose_blocks(feature_blocks, len(encoder.blocks))
        self.head = SegmentationHead(encoder.embed_dim, len(self.feature_blocks), num_classes, num_parts, dropout)
        self.head.apply(init_truncated_normal)

    def forward(self, points: Tensor, labels: Tensor) -> Tensor:
        """Label every point.

        Args:
            points: (B, N, 3) float32, or (B, N, 6) with colours.
            labels: (B,) int64 categories of the objects.

        Returns:
            logits (B, N, P), in the order of the points.
        """
        patches, centers = self.encoder.group(points)
        queries, _, kept = self.encoder.forward_blocks(patches, centers, keep=self.feature_blocks)
        tokens = torch.cat([self.encoder.norm(tokens) for tokens in kept], dim=-1)
        # parity: tokens are read after the final norm, the queries before it.
        return self.head(points[..., :3], labels, centers, tokens, queries)


class SegmentationHead(nn.Module):
    """Names the part of a point from its surroundings, the whole shape and the shape's category.

    Args:
        embed_dim: C.
        num_blocks: how many blocks are read, L / C.
        num_classes: categories.
        num_parts: P.
        dropout: rate after the first layer.
    """

    def __init__(self, embed_dim: int, num_blocks: int, num_classes: int, num_parts: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.num_classes = num_classes
        token_dim = num_blocks * embed_dim
        self.category = nn.Sequential(
            nn.Linear(num_classes, CATEGORY_DIM, bias=False), BatchNorm1d(CATEGORY_DIM), nn.LeakyReLU(0.2)
        )
        self.local = LocalFeature(token_dim, 4 * embed_dim, LOCAL_DIM)
        # Input order: [local, patch maximum, patch mean, query maximum, category].
        self.fc1 = nn.Linear(LOCAL_DIM + 2 * token_dim + embed_dim + CATEGORY_DIM, 512)
        self.norm1 = BatchNorm1d(512)
        self.dropout = Dropout(dropout)
        self.fc2 = nn.Linear(512, 256)
        self.norm2 = BatchNorm1d(256)
        self.fc3 = nn.Linear(256, num_parts)

    def forward(self, points: Tensor, labels: Tensor, centers: Tensor, tokens: Tensor, queries: Tensor) -> Tensor:
        """Logits (B, N, P).

        Args:
            points: (B, N, 3).
            labels: (B,) int64.
            centers: (B, G, 3).
            tokens: (B, G, L) after the final norm.
            queries: (B, Q, C) before the final norm.
        """
        local = self.local(points, centers, tokens)
        shape = self.forward_shape(labels, tokens, queries)
        # The shape's part is the same for all of its points: multiplied once a shape, it is a fraction of the work.
        for_local, for_shape = self.fc1.weight.split([local.shape[-1], shape.shape[-1]], dim=1)
        x = F.linear(local, for_local) + F.linear(shape, for_shape, self.fc1.bias).unsqueeze(1)
        x = self.dropout(norm_relu(self.norm1, x))
        x = norm_relu(self.norm2, self.fc2(x))
        return self.fc3(x)

    def forward_shape(self, labels: Tensor, tokens: Tensor, queries: Tensor) -> Tensor:
        """What all points of a shape share: (B,), (B, G, L), (B, Q, C) -> (B, 2L + C + 64)."""
        category = self.category(F.one_hot(labels, self.num_classes).to(tokens.dtype))
        pooled = (tokens.max(dim=1).values, tokens.mean(dim=1), queries.max(dim=1).values)
        return torch.cat([*pooled, category], dim=-1)


class LocalFeature(nn.Module):
    """Features of the patches, carried to every point and joined by its coordinates (PointNet++, section 3.4).

    Args:
        token_dim: L.
        hidden_dim: width of the first layer.
        dim: width of the outcome.
    """

    def __init__(self, token_dim: int, hidden_dim: int, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3 + token_dim, hidden_dim)  # input order: [xyz, features]
        self.norm1 = BatchNorm1d(hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.norm2 = BatchNorm1d(dim)

    def forward(self, points: Tensor, centers: Tensor, tokens: Tensor) -> Tensor:
        """(B, N, 3), (B, G, 3), (B, G, L) -> (B, N, dim)."""
        # A mean of products is the product of the mean: each patch is multiplied once instead of each of its points.
        for_xyz, for_tokens = self.fc1.weight.split([3, tokens.shape[-1]], dim=1)
        carried = interpolate(points, centers, F.linear(tokens, for_tokens))
        x = norm_relu(self.norm1, F.linear(points, for_xyz, self.fc1.bias) + carried)
        return norm_relu(self.norm2, self.fc2(x))


def interpolate(points: Tensor, centers: Tensor, features: Tensor) -> Tensor:
    """Mean over the three nearest centres of each point, weighted by 1 / (d^2 + 1e-8).

    Args:
        points: (B, N, 3).
        centers: (B, G, 3), G >= 3.
        features: (B, G, L).

    Returns:
        (B, N, L) float32.
    """
    squared, index = ops.three_nn(points.float(), centers.float())
    weight = 1.0 / (squared + 1e-8)
    weight = weight / weight.sum(dim=-1, keepdim=True)
    return ops.three_interpolate(features.float(), index, weight)


def choose_blocks(blocks: Sequence[int], depth: int) -> list[int]:
    """The blocks that are read, by increasing depth; without a choice those at each third (12 blocks: 4, 8, 12).

    Raises:
        InputError: a number that is no block.
    """
    for number in blocks:
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= depth:
            raise InputError(
                f"segmenter.feature_blocks has {number!r}, but the encoder's blocks are 1 to {depth}; give some of "
                "these, or [] for the ones at each third of the depth"
            )
    return sorted(set(blocks or (max(1, round(depth * third / 3)) for third in (1, 2, 3))))
