"""From a cloud, with or without colours, to patches and their embeddings.

Shape legend: B batch, N points, G groups, K points per group, P = B * G patches, ch channels of a point (3 or 6),
C channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointrecon.extensions import ops
from pointrecon.models.blocks.batch_norm import BatchNorm1d
from pointrecon.models.patches.grouping import PointGroup
from pointrecon.models.patches.masking import take_groups
from pointrecon.models.patches.norm_fold import fold_norm, linear_moments
from pointrecon.models.patches.patch_embed import FoldedPointNet
from pointrecon.models.reconpp.order import chain_order

LARGE_WIDTH, LARGE_FIRST = 2048, 256  # of the large embedding, at every width of the network
ORIGIN = 1e-3  # squared distance from the origin within which the published sampling finds no centre


class ColoredGroup(PointGroup):
    """Patches whose colours ride along, in the order of farthest point sampling or of the chain.

    Args:
        num_groups: G.
        group_size: K.
        channels: ch; 6 with red, green and blue in 0..1.
        is_chained: in the order of `chain_order`.
        color_fill: each colour of clouds that have none.
        skip_origin: no centre lies within 0.032 of the origin but the first, as the published sampling had it.
    """

    def __init__(
        self,
        num_groups: int,
        group_size: int,
        channels: int = 3,
        is_chained: bool = False,
        color_fill: float = 0.4,
        skip_origin: bool = False,
    ) -> None:
        super().__init__(num_groups, group_size)
        self.channels, self.is_chained = channels, is_chained
        self.color_fill, self.skip_origin = color_fill, skip_origin

    @torch.no_grad()
    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Group points.

        Args:
            points: (B, N, 3) or, with colours, (B, N, 6) float32; colours that the network does not take are left out.

        Returns:
            patches (B, G, K, ch), coordinates minus those of their centres and unscaled; centers (B, G, 3).

        Raises:
            InputError: the clouds have fewer points than groups or than points in a group.
        """
        xyz = points[..., :3]
        if self.skip_origin:
            patches, centers, index = self._cut_around_origin(xyz)
        else:
            self.check(points)
            centers, patches, index = ops.patchify(xyz, self.num_groups, self.group_size)
        if self.channels > 3:
            if points.shape[-1] > 3:
                colors = ops.group(points[..., 3:].contiguous(), index)
            else:
                colors = torch.full_like(patches, self.color_fill)
            patches = torch.cat([patches, colors], dim=-1)
        if self.is_chained:
            order = chain_order(centers)
            patches, centers = take_groups(patches, order), take_groups(centers, order)
        return patches, centers

    def _cut_around_origin(self, xyz: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.check(xyz)
        # A copy of the start is as near to a chosen centre as can be, so it is chosen last.
        is_near = xyz.square().sum(dim=-1, keepdim=True) <= ORIGIN
        centers = ops.gather(xyz, ops.fps(torch.where(is_near, xyz[:, :1], xyz), self.num_groups))
        index = ops.knn(xyz, centers, self.group_size)
        return ops.group(xyz, index) - centers.unsqueeze(2), centers, index


class LargePointNet(FoldedPointNet):
    """The large patch embedding: two layers with batch-norm before the first maximum, widths that do not depend on C.

    Per point ch -> 256 -> 512 -> 1024; the patch's maximum joins every point: 2048 -> 2048 -> C; maximum. Batch-norm
    follows the first, the second and the fourth of these maps: a `FoldedPointNet` of width 2048 over the first one.
    """

    def __init__(self, dim: int, channels: int = 3) -> None:
        super().__init__(dim, LARGE_WIDTH, LARGE_FIRST)
        self.fc0 = nn.Linear(channels, LARGE_FIRST)
        self.norm0 = BatchNorm1d(LARGE_FIRST)

    def _lift(self, patches: Tensor) -> Tensor:
        """(P, K, ch) -> (P, K, 512)."""
        moments = linear_moments(patches.flatten(0, 1), self.fc0.weight, self.fc0.bias) if self.training else None
        scale, shift = fold_norm(self.norm0, moments)
        x = F.relu(F.linear(patches, scale.unsqueeze(1) * self.fc0.weight, scale * self.fc0.bias + shift))
        return super()._lift(x)
