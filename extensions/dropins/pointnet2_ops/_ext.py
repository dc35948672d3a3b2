"""The functions of the original's compiled module: no autograd, the gradient is a function of its own.

Shape legend: B batch, N points, S centres, K points a centre, C channels, n unknown and m known points.
"""

import torch
from recon_point_ops import dropin
from torch import Tensor

from . import pointnet2_utils

__all__ = [
    "ball_query",
    "furthest_point_sampling",
    "gather_points",
    "gather_points_grad",
    "group_points",
    "group_points_grad",
    "three_interpolate",
    "three_interpolate_grad",
    "three_nn",
]


@torch.no_grad()
def furthest_point_sampling(points: Tensor, nsamples: int) -> Tensor:
    """(B, N, 3) -> (B, S) int32; see `pointnet2_utils.furthest_point_sample`."""
    return pointnet2_utils.furthest_point_sample(points, nsamples)


@torch.no_grad()
def gather_points(points: Tensor, idx: Tensor) -> Tensor:
    """(B, C, N), (B, S) -> (B, C, S); see `pointnet2_utils.gather_operation`."""
    return pointnet2_utils.gather_operation(points, idx)


@torch.no_grad()
def gather_points_grad(grad_out: Tensor, idx: Tensor, n: int) -> Tensor:
    """Gradient of `gather_points`.

    Args:
        grad_out: (B, C, S).
        idx: (B, S) in 0..n-1.
        n: how many points there were.

    Returns:
        (B, C, n).

    Raises:
        ValueError: a shape does not fit, or idx holds no integers in range.
    """
    dropin.check_shapes("gather_points_grad", grad_out=(grad_out, "B C S"), idx=(idx, "B S"))
    index = dropin.check_index("gather_points_grad", "idx", idx, n)
    grad = grad_out.new_zeros(*grad_out.shape[:2], n)
    return grad.scatter_add_(2, index.unsqueeze(1).expand_as(grad_out), grad_out)


@torch.no_grad()
def group_points(points: Tensor, idx: Tensor) -> Tensor:
    """(B, C, N), (B, S, K) -> (B, C, S, K); see `pointnet2_utils.grouping_operation`."""
    return pointnet2_utils.grouping_operation(points, idx)


@torch.no_grad()
def group_points_grad(grad_out: Tensor, idx: Tensor, n: int) -> Tensor:
    """Gradient of `group_points`.

    Args:
        grad_out: (B, C, S, K).
        idx: (B, S, K) in 0..n-1.
        n: how many points there were.

    Returns:
        (B, C, n).

    Raises:
        ValueError: a shape does not fit, or idx holds no integers in range.
    """
    dropin.check_shapes("group_points_grad", grad_out=(grad_out, "B C S K"), idx=(idx, "B S K"))
    return gather_points_grad(grad_out.flatten(2), idx.flatten(1), n)


@torch.no_grad()
def three_nn(unknowns: Tensor, knows: Tensor) -> list[Tensor]:
    """Squared distances (B, n, 3) to the three nearest known points, nearest first, and their indices, int32."""
    distance, index = pointnet2_utils.three_nn(unknowns, knows)
    return [distance.square(), index]


@torch.no_grad()
def three_interpolate(points: Tensor, idx: Tensor, weight: Tensor) -> Tensor:
    """(B, C, m), (B, n, 3), (B, n, 3) -> (B, C, n); see `pointnet2_utils.three_interpolate`."""
    return pointnet2_utils.three_interpolate(points, idx, weight)


@torch.no_grad()
def three_interpolate_grad(grad_out: Tensor, idx: Tensor, weight: Tensor, m: int) -> Tensor:
    """Gradient of `three_interpolate` in the features.

    Args:
        grad_out: (B, C, n).
        idx: (B, n, 3) in 0..m-1.
        weight: (B, n, 3).
        m: how many known points there were.

    Returns:
        (B, C, m).

    Raises:
        ValueError: a shape does not fit, or idx holds no integers in range.
    """
    name = "three_interpolate_grad"
    dropin.check_shapes(name, grad_out=(grad_out, "B C n"), idx=(idx, "B n 3"), weight=(weight, "B n 3"))
    return group_points_grad(grad_out.unsqueeze(-1) * weight.unsqueeze(1), idx, m)


@torch.no_grad()
def ball_query(new_xyz: Tensor, xyz: Tensor, radius: float, nsample: int) -> Tensor:
    """(B, S, 3), (B, N, 3) -> (B, S, K) int32; see `pointnet2_utils.ball_query` for arguments in another order."""
    return pointnet2_utils.ball_query(radius, nsample, xyz, new_xyz)
