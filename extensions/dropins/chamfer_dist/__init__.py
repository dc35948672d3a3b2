"""Drop-in for the package `chamfer_dist` of the Point-MAE family: Chamfer losses, on any device.

Shape legend: B batch, N, M points of the two clouds.
"""

from recon_point_ops import dropin, ops
from recon_point_ops.chamfer.reference import length
from recon_point_ops.chamfer.registered import registered_nearest
from torch import Tensor, nn

__all__ = [
    "ChamferDistance",
    "ChamferDistanceL1",
    "ChamferDistanceL1_PM",
    "ChamferDistanceL2",
    "ChamferDistanceL2_split",
    "ChamferFunction",
]


class ChamferFunction:
    """Squared distances to the nearest point, under the name and call of an autograd function."""

    @staticmethod
    def apply(xyz1: Tensor, xyz2: Tensor) -> tuple[Tensor, Tensor]:
        """Measure both ways.

        Args:
            xyz1: (B, N, 3).
            xyz2: (B, M, 3).

        Returns:
            (B, N) squared distance of each point of xyz1 to its nearest in xyz2, and (B, M) the other way;
            differentiable in both clouds.

        Raises:
            ValueError: a shape does not fit, a cloud is empty, or a coordinate is not finite.
        """
        _check(xyz1, xyz2)
        return _nearest_squared(xyz1, xyz2), _nearest_squared(xyz2, xyz1)


class _ChamferDistance(nn.Module):
    """A Chamfer distance.

    Args:
        ignore_zeros: leave points at the origin out, which is what clouds are padded with. As in the package that this
            stands for, that happens for a batch of one cloud only; larger batches keep them.
    """

    def __init__(self, ignore_zeros: bool = False) -> None:
        super().__init__()
        self.ignore_zeros = ignore_zeros

    def prepare(self, xyz1: Tensor, xyz2: Tensor) -> tuple[Tensor, Tensor]:
        """The clouds to compare.

        Raises:
            ValueError: a shape does not fit, a cloud is empty, or a coordinate is not finite.
        """
        _check(xyz1, xyz2)
        if self.ignore_zeros and xyz1.shape[0] == 1:
            # differs from the published code: that one drops every point whose coordinates add up to zero.
            xyz1, xyz2 = (cloud[:, cloud[0].ne(0).any(dim=-1)] for cloud in (xyz1, xyz2))
            _check(xyz1, xyz2)
        return xyz1, xyz2

    def extra_repr(self) -> str:
        return f"ignore_zeros={self.ignore_zeros}"


class ChamferDistanceL2(_ChamferDistance):
    """Mean squared distance to the nearest point, one way plus the other."""

    def forward(self, xyz1: Tensor, xyz2: Tensor) -> Tensor:
        """(B, N, 3), (B, M, 3) -> scalar."""
        return ops.chamfer_distance(*self.prepare(xyz1, xyz2), norm=2)


class ChamferDistanceL2_split(_ChamferDistance):  # noqa: N801  (the well-known name)
    """Mean squared distance to the nearest point, each way by itself."""

    def forward(self, xyz1: Tensor, xyz2: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 3), (B, M, 3) -> scalar from xyz1 to xyz2, scalar from xyz2 to xyz1."""
        xyz1, xyz2 = self.prepare(xyz1, xyz2)
        return _nearest_squared(xyz1, xyz2).mean(), _nearest_squared(xyz2, xyz1).mean()


class ChamferDistanceL1(_ChamferDistance):
    """Mean distance to the nearest point, both ways averaged."""

    def forward(self, xyz1: Tensor, xyz2: Tensor) -> Tensor:
        """(B, N, 3), (B, M, 3) -> scalar."""
        # differs from the published code: the gradient of coinciding points is 0 where that one has infinity times 0.
        return ops.chamfer_distance(*self.prepare(xyz1, xyz2), norm=1)


class ChamferDistanceL1_PM(_ChamferDistance):  # noqa: N801  (the well-known name)
    """Mean distance from the first cloud to the second alone: how well a part matches a whole."""

    def forward(self, xyz1: Tensor, xyz2: Tensor) -> Tensor:
        """(B, N, 3), (B, M, 3) -> scalar."""
        a, b = (cloud.float() for cloud in self.prepare(xyz1, xyz2))
        _, index = registered_nearest(a.detach(), b.detach())
        return length(a - ops.gather(b, index)).mean()


class ChamferDistance(ChamferDistanceL2):
    """`ChamferDistanceL2` under the name that GRNet gives it."""


def _check(xyz1: Tensor, xyz2: Tensor) -> None:
    dropin.check_clouds("chamfer distance", xyz1=(xyz1, "B N 3"), xyz2=(xyz2, "B M 3"))
    dropin.check_not_empty("chamfer distance", xyz1=xyz1, xyz2=xyz2)


def _nearest_squared(a: Tensor, b: Tensor) -> Tensor:
    """(B, N, 3), (B, M, 3) -> (B, N)."""
    return registered_nearest(a.float(), b.float())[0]
