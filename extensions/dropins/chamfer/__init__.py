"""Drop-in for the compiled module `chamfer` that the copies of `chamfer_dist` inside other projects import.

Shape legend: B batch, N, M points of the two clouds.
"""

import torch
from recon_point_ops import dropin, ops
from recon_point_ops.chamfer.registered import registered_nearest
from torch import Tensor

__all__ = ["backward", "forward"]


@torch.no_grad()
def forward(xyz1: Tensor, xyz2: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Nearest points both ways.

    Args:
        xyz1: (B, N, 3) float32.
        xyz2: (B, M, 3) float32.

    Returns:
        Squared distances (B, N) and (B, M), and indices of the nearest points (B, N) and (B, M), int32.

    Raises:
        ValueError: a shape does not fit, a cloud is empty, or a coordinate is not finite.
    """
    dropin.check_clouds("chamfer.forward", xyz1=(xyz1, "B N 3"), xyz2=(xyz2, "B M 3"))
    dropin.check_not_empty("chamfer.forward", xyz1=xyz1, xyz2=xyz2)
    xyz1, xyz2 = xyz1.float(), xyz2.float()
    (dist1, idx1), (dist2, idx2) = registered_nearest(xyz1, xyz2), registered_nearest(xyz2, xyz1)
    return dist1, dist2, idx1.int(), idx2.int()


@torch.no_grad()
def backward(
    xyz1: Tensor, xyz2: Tensor, idx1: Tensor, idx2: Tensor, grad_dist1: Tensor, grad_dist2: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of `forward`'s distances.

    Args:
        xyz1: (B, N, 3) float32.
        xyz2: (B, M, 3) float32.
        idx1: (B, N), as `forward` returned it.
        idx2: (B, M), as `forward` returned it.
        grad_dist1: (B, N), gradient of the distances of xyz1.
        grad_dist2: (B, M), gradient of the distances of xyz2.

    Returns:
        Gradients (B, N, 3) in xyz1 and (B, M, 3) in xyz2.

    Raises:
        ValueError: a shape does not fit.
    """
    dropin.check_shapes(
        "chamfer.backward",
        xyz1=(xyz1, "B N 3"),
        xyz2=(xyz2, "B M 3"),
        idx1=(idx1, "B N"),
        idx2=(idx2, "B M"),
        grad_dist1=(grad_dist1, "B N"),
        grad_dist2=(grad_dist2, "B M"),
    )
    idx1 = dropin.check_index("chamfer.backward", "idx1", idx1, xyz2.shape[1])
    idx2 = dropin.check_index("chamfer.backward", "idx2", idx2, xyz1.shape[1])
    from1 = 2 * grad_dist1.unsqueeze(-1) * (xyz1 - ops.gather(xyz2, idx1))
    from2 = 2 * grad_dist2.unsqueeze(-1) * (xyz2 - ops.gather(xyz1, idx2))
    # Each distance pulls its point one way and the nearest point of the other cloud the other way.
    grad1 = from1.scatter_add(1, idx2.unsqueeze(-1).expand_as(from2), -from2)
    grad2 = from2.scatter_add(1, idx1.unsqueeze(-1).expand_as(from1), -from1)
    return grad1, grad2
