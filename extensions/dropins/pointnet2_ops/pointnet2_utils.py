"""The functions of `pointnet2_ops.pointnet2_utils`: names, argument orders, layouts and types of the original.

Shape legend: B batch, N points, S centres (npoint), K points a centre (nsample), C channels, n unknown and m known
points. Channels come before points: (B, C, N). Indices go out as int32 and come in as int32 or int64.
"""

import numbers

import torch
from recon_point_ops import dropin, ops
from recon_point_ops.knn import reference
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "SKIP_NEAR_ORIGIN",
    "BallQuery",
    "FurthestPointSampling",
    "GatherOperation",
    "GroupAll",
    "GroupingOperation",
    "QueryAndGroup",
    "ThreeInterpolate",
    "ThreeNN",
    "ball_query",
    "furthest_point_sample",
    "gather_operation",
    "grouping_operation",
    "three_interpolate",
    "three_nn",
]

# The original takes points with |p|^2 <= 1e-3 for padding and never samples them, the first one apart. True here does
# the same; otherwise every point counts.
SKIP_NEAR_ORIGIN = False
NEAR_ORIGIN = 1e-3


def furthest_point_sample(xyz: Tensor, npoint: int) -> Tensor:
    """Farthest point sampling, starting at index 0.

    Args:
        xyz: (B, N, 3) float32.
        npoint: how many points to pick, 1..N.

    Returns:
        (B, S) int32, in the order of picking; ties go to the lowest index. The original gives them to the lowest
        bit-reversed thread number, so clouds with equal distances may differ from it.

    Raises:
        ValueError: a shape does not fit, a coordinate is not finite, or npoint is not in 1..N.
    """
    sizes = dropin.check_clouds("furthest_point_sample", xyz=(xyz, "B N 3"))
    dropin.check_count("furthest_point_sample", "npoint", npoint, sizes["N"], "xyz")
    xyz = xyz.detach()
    if SKIP_NEAR_ORIGIN:
        # A point in the place of the first one is as good as picked from the start.
        is_near = xyz.square().sum(dim=-1, keepdim=True) <= NEAR_ORIGIN
        xyz = torch.where(is_near, xyz[:, :1], xyz)
    return ops.fps(xyz, npoint).int()


def gather_operation(features: Tensor, idx: Tensor) -> Tensor:
    """Pick points.

    Args:
        features: (B, C, N).
        idx: (B, S) in 0..N-1.

    Returns:
        (B, C, S), differentiable in features.

    Raises:
        ValueError: a shape does not fit, or idx holds no integers in range.
    """
    sizes = dropin.check_shapes("gather_operation", features=(features, "B C N"), idx=(idx, "B S"))
    index = dropin.check_index("gather_operation", "idx", idx, sizes["N"])
    return features.gather(2, index.unsqueeze(1).expand(-1, features.shape[1], -1))


def grouping_operation(features: Tensor, idx: Tensor) -> Tensor:
    """Pick the points of every neighbourhood.

    Args:
        features: (B, C, N).
        idx: (B, S, K) in 0..N-1.

    Returns:
        (B, C, S, K), differentiable in features.

    Raises:
        ValueError: a shape does not fit, or idx holds no integers in range.
    """
    sizes = dropin.check_shapes("grouping_operation", features=(features, "B C N"), idx=(idx, "B S K"))
    index = dropin.check_index("grouping_operation", "idx", idx, sizes["N"]).flatten(1)
    return features.gather(2, index.unsqueeze(1).expand(-1, features.shape[1], -1)).unflatten(2, idx.shape[1:])


def three_nn(unknown: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The three nearest known points of each unknown one.

    Args:
        unknown: (B, n, 3) float32.
        known: (B, m, 3) float32, m >= 3.

    Returns:
        Euclidean distances (B, n, 3), without gradient as in the original, and indices (B, n, 3) int32, nearest first.

    Raises:
        ValueError: a shape does not fit, a coordinate is not finite, or fewer than three points are known.
    """
    sizes = dropin.check_clouds("three_nn", unknown=(unknown, "B n 3"), known=(known, "B m 3"))
    if sizes["m"] < 3:
        raise ValueError(f"three_nn: known needs at least 3 points, its shape is {tuple(known.shape)}")
    with torch.no_grad():
        scale = dropin.find_scale(unknown=unknown, known=known)
        if scale is not None:
            unknown, known = unknown / scale, known / scale
        squared, index = ops.three_nn(unknown, known)
        return squared.sqrt() if scale is None else squared.sqrt() * scale, index.int()


def three_interpolate(features: Tensor, idx: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum of the features of three points.

    Args:
        features: (B, C, m).
        idx: (B, n, 3) in 0..m-1.
        weight: (B, n, 3).

    Returns:
        (B, C, n), differentiable in features, and in weight too.

    Raises:
        ValueError: a shape does not fit, or idx holds no integers in range.
    """
    dropin.check_shapes("three_interpolate", features=(features, "B C m"), idx=(idx, "B n 3"), weight=(weight, "B n 3"))
    return (grouping_operation(features, idx) * weight.unsqueeze(1)).sum(dim=-1)


@torch.no_grad()
def ball_query(radius: float, nsample: int, xyz: Tensor, new_xyz: Tensor) -> Tensor:
    """Points in a ball around each centre.

    Args:
        radius: of the ball, above 0.
        nsample: points a centre, 1 or more.
        xyz: (B, N, 3) float32, searched.
        new_xyz: (B, S, 3) float32, the centres.

    Returns:
        (B, S, K) int32: the first nsample points, by index, that lie nearer than radius; what is left repeats the first
        of them, or is 0 where the ball is empty.

    Raises:
        ValueError: a shape or number does not fit, or a coordinate is not finite.
    """
    sizes = dropin.check_clouds("ball_query", xyz=(xyz, "B N 3"), new_xyz=(new_xyz, "B S 3"))
    if not isinstance(nsample, numbers.Integral) or nsample < 1 or not radius > 0:
        raise ValueError(f"ball_query: radius and the whole number nsample must be above 0, got {radius}, {nsample}")
    limit = torch.tensor(radius, dtype=xyz.dtype, device=xyz.device)
    scale = dropin.find_scale(xyz=xyz, new_xyz=new_xyz)
    if scale is not None:
        limit, xyz, new_xyz = limit / scale, xyz / scale, new_xyz / scale
    slab = max(1, reference.MAX_SLAB_ELEMENTS // max(1, sizes["B"] * sizes["N"]))
    # parity: squared in single precision
    parts = [_ball_query_slab(limit.square(), nsample, xyz, centers) for centers in new_xyz.split(slab, dim=1)]
    return torch.cat(parts, dim=1)


def _ball_query_slab(limit: Tensor, nsample: int, xyz: Tensor, centers: Tensor) -> Tensor:
    num_points = xyz.shape[1]
    is_inside = reference.squared_distances(centers, xyz) < limit
    order = torch.arange(num_points, dtype=torch.int32, device=xyz.device)
    order = torch.where(is_inside, order, num_points)  # those outside come last
    first = order.topk(min(nsample, num_points), dim=-1, largest=False, sorted=True).values
    first = functional.pad(first, (0, nsample - first.shape[-1]), value=num_points)
    filler = torch.where(first[..., :1] < num_points, first[..., :1], 0)
    return torch.where(first < num_points, first, filler).int()


class FurthestPointSampling:
    """`furthest_point_sample` under the name of the original's autograd function."""

    apply = staticmethod(furthest_point_sample)


class GatherOperation:
    """`gather_operation` under the name of the original's autograd function."""

    apply = staticmethod(gather_operation)


class GroupingOperation:
    """`grouping_operation` under the name of the original's autograd function."""

    apply = staticmethod(grouping_operation)


class ThreeNN:
    """`three_nn` under the name of the original's autograd function."""

    apply = staticmethod(three_nn)


class ThreeInterpolate:
    """`three_interpolate` under the name of the original's autograd function."""

    apply = staticmethod(three_interpolate)


class BallQuery:
    """`ball_query` under the name of the original's autograd function."""

    apply = staticmethod(ball_query)


class QueryAndGroup(nn.Module):
    """Groups points by a ball query.

    Args:
        radius: of the ball.
        nsample: points a centre.
        use_xyz: put coordinates, relative to the centre, in front of the features.
    """

    def __init__(self, radius: float, nsample: int, use_xyz: bool = True) -> None:
        super().__init__()
        self.radius, self.nsample, self.use_xyz = radius, nsample, use_xyz

    def forward(self, xyz: Tensor, new_xyz: Tensor, features: Tensor | None = None) -> Tensor:
        """Group points.

        Args:
            xyz: (B, N, 3).
            new_xyz: (B, S, 3), the centres.
            features: (B, C, N).

        Returns:
            (B, 3 + C, S, K); (B, C, S, K) without use_xyz.

        Raises:
            ValueError: a shape does not fit, or there is nothing to group.
        """
        if features is None and not self.use_xyz:
            raise ValueError("QueryAndGroup: features is None and use_xyz is False, so there is nothing to group")
        idx = ball_query(self.radius, self.nsample, xyz, new_xyz)
        if not self.use_xyz:
            return grouping_operation(features, idx)
        grouped_xyz = grouping_operation(xyz.transpose(1, 2), idx) - new_xyz.transpose(1, 2).unsqueeze(-1)
        if features is None:
            return grouped_xyz
        return torch.cat([grouped_xyz, grouping_operation(features, idx)], dim=1)

    def extra_repr(self) -> str:
        return f"radius={self.radius}, nsample={self.nsample}, use_xyz={self.use_xyz}"


class GroupAll(nn.Module):
    """Makes one group of all points.

    Args:
        use_xyz: put coordinates in front of the features.
    """

    def __init__(self, use_xyz: bool = True) -> None:
        super().__init__()
        self.use_xyz = use_xyz

    def forward(self, xyz: Tensor, new_xyz: Tensor | None, features: Tensor | None = None) -> Tensor:
        """Group points.

        Args:
            xyz: (B, N, 3).
            new_xyz: not used.
            features: (B, C, N).

        Returns:
            (B, 3 + C, 1, N); (B, C, 1, N) without use_xyz; (B, 3, 1, N) without features.

        Raises:
            ValueError: a shape does not fit.
        """
        dropin.check_shapes("GroupAll", xyz=(xyz, "B N 3"))
        grouped_xyz = xyz.transpose(1, 2).unsqueeze(2)
        if features is None:
            return grouped_xyz
        dropin.check_shapes("GroupAll", xyz=(xyz, "B N 3"), features=(features, "B C N"))
        return torch.cat([grouped_xyz, features.unsqueeze(2)], dim=1) if self.use_xyz else features.unsqueeze(2)

    def extra_repr(self) -> str:
        return f"use_xyz={self.use_xyz}"
