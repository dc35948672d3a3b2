"""Point patches: centres by farthest point sampling, neighbourhoods by exact kNN.

Shape legend: B batch, N points, G groups, K points per group.
"""

from torch import Tensor, nn

from pointrecon.extensions import ops
from pointrecon.utils.errors import InputError


class PointGroup(nn.Module):
    """Cuts a cloud into G overlapping patches of K points, each relative to its centre (Point-BERT, section 3.1)."""

    def __init__(self, num_groups: int, group_size: int) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.group_size = group_size

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Group points.

        Args:
            points: (B, N, 3) float32.

        Returns:
            patches (B, G, K, 3) minus their centres, unscaled, nearest point first; centers (B, G, 3).

        Raises:
            InputError: the clouds have fewer points than groups or than points in a group.
        """
        self.check(points)
        centers, patches, _ = ops.patchify(points, self.num_groups, self.group_size)
        return patches, centers

    def check(self, points: Tensor) -> None:
        """Raises InputError if the clouds (B, N, ...) have fewer points than groups or than points in a group."""
        needed = max(self.num_groups, self.group_size)
        if points.shape[1] < needed:
            raise InputError(
                f"the clouds have {points.shape[1]} points, but {self.num_groups} groups of {self.group_size} need at "
                f"least {needed}; raise data.num_points or lower model.num_groups and model.group_size"
            )

    def extra_repr(self) -> str:
        return f"num_groups={self.num_groups}, group_size={self.group_size}"
