"""From coloured clouds to patch features: nearest neighbours with a mini-PointNet, or balls with shared layers.

Shape legend: B batch, N points, G patches, K points per patch, W width of a patch feature.
"""

from typing import cast

import torch
from torch import Tensor, nn

from pointrecon.extensions import ops
from pointrecon.models.blocks.batch_norm import BatchNorm1d, norm_relu
from pointrecon.models.patches.patch_embed import FoldedPointNet
from pointrecon.utils.errors import InputError

NEAR_CENTRE = 1e-3  # squared distance to the origin
_SLAB = 1 << 25  # distances at a time


def fps_off_centre(points: Tensor, num_samples: int) -> Tensor:
    """Farthest point sampling as pointnet2's CUDA op does it: (B, N, 3) -> (B, G) int64.

    # parity: after the first, points nearer to the origin than sqrt(1e-3) are never picked, which the op takes for
    padding. Here they are moved onto the first point, where their distance to what is picked is 0.
    """
    is_near = points.square().sum(-1, keepdim=True) <= NEAR_CENTRE
    return ops.fps(torch.where(is_near, points[:, :1], points), num_samples)


def ball_query(points: Tensor, centers: Tensor, radius: float, count: int) -> Tensor:
    """The first `count` points by index within a radius of each centre, padded with the first of them.

    Args:
        points: (B, N, 3).
        centers: (B, G, 3), each within the radius of some point.
        radius: Points at this distance are within.
        count: K.

    Returns:
        (B, G, K) int64.
    """
    batch, num, groups = len(points), points.shape[1], centers.shape[1]
    places = torch.arange(num, dtype=torch.int32, device=points.device)
    step = max(1, _SLAB // max(1, batch * num))
    parts = []
    for some in centers.split(step, dim=1):
        squared = points.new_zeros(batch, some.shape[1], num)
        for axis in range(3):  # by subtraction: a matrix product misplaces the border
            squared += (some[..., axis, None] - points[:, None, :, axis]).square_()
        found = torch.where(squared <= radius**2, places, num)
        parts.append(found.topk(min(count, num), dim=-1, largest=False, sorted=True).values)
    index = torch.cat(parts, dim=1).long()
    if count > num:
        index = torch.cat([index, index.new_full((batch, groups, count - num), num)], dim=-1)
    return torch.where(index == num, index[..., :1], index)


class NearestPatches(nn.Module):
    """K nearest points of each of G farthest ones, [relative coordinates, colours] through a mini-PointNet.

    Args:
        widths: Of the mini-PointNet's four maps, the last one W.
        num_groups: G.
        group_size: K.
        channels: 3 coordinates and the colours.
    """

    def __init__(self, widths: tuple[int, int, int, int], num_groups: int, group_size: int, channels: int = 6) -> None:
        super().__init__()
        self.num_groups, self.group_size = num_groups, group_size
        first, second, third, last = widths
        self.embed = FoldedPointNet(last, third)
        self.embed.fc1, self.embed.norm1 = nn.Linear(channels, first), BatchNorm1d(first)
        self.embed.fc2, self.embed.fc3 = nn.Linear(first, second), nn.Linear(2 * second, third)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 6) -> centres (B, G, 3) and features (B, G, W)."""
        check_points(points, self.num_groups, self.group_size)
        places = points[..., :3].contiguous()
        centers = ops.gather(places, fps_off_centre(places, self.num_groups))
        return centers, self.describe(ops.group(points, ops.knn(places, centers, self.group_size)), centers)

    def describe(self, patches: Tensor, centers: Tensor) -> Tensor:
        """Points of the patches (B, G, K, 6) and centres (B, G, 3) -> features (B, G, W)."""
        return self.embed(torch.cat([patches[..., :3] - centers.unsqueeze(2), patches[..., 3:]], dim=-1))


class BallPatches(nn.Module):
    """Set abstraction (PointNet++, section 3.2): the first K points in a ball, shared layers, maximum.

    Args:
        widths: Of the shared layers, each with batch-norm and ReLU; the last one is W.
        num_groups: G.
        group_size: K.
        radius: Of the balls, in the unit sphere's units.
        channels: Relative coordinates beside coordinates and colours.
    """

    def __init__(
        self, widths: tuple[int, ...], num_groups: int, group_size: int, radius: float, channels: int = 9
    ) -> None:
        super().__init__()
        self.num_groups, self.group_size, self.radius = num_groups, group_size, radius
        self.maps = nn.ModuleList(nn.Linear(a, b) for a, b in zip((channels, *widths), widths, strict=False))
        self.norms = nn.ModuleList(BatchNorm1d(width) for width in widths)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 6) -> centres (B, G, 3) and features (B, G, W)."""
        check_points(points, self.num_groups, 1)
        places = points[..., :3].contiguous()
        centers = ops.gather(places, ops.fps(places, self.num_groups))
        index = ball_query(places, centers, self.radius, self.group_size)
        return centers, self.describe(ops.group(points, index), centers)

    def describe(self, patches: Tensor, centers: Tensor) -> Tensor:
        """Points of the patches (B, G, K, 6) and centres (B, G, 3) -> features (B, G, W)."""
        x = torch.cat([patches[..., :3] - centers.unsqueeze(2), patches], dim=-1)
        for layer, norm in zip(self.maps, self.norms, strict=True):
            x = norm_relu(cast(BatchNorm1d, norm), layer(x))
        return x.amax(dim=2)


def check_points(points: Tensor, num_groups: int, group_size: int) -> None:
    """Raises InputError unless points are (B, N, 6) with enough of them."""
    if points.dim() != 3 or points.shape[-1] != 6:
        raise InputError(f"this encoder takes points (B, N, 6), xyz and rgb, but got {tuple(points.shape)}")
    if points.shape[1] < max(num_groups, group_size):
        raise InputError(
            f"the clouds have {points.shape[1]} points, but {num_groups} patches of {group_size} need at least "
            f"{max(num_groups, group_size)}; give more points, or lower num_groups and group_size"
        )
