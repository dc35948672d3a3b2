"""The reconstruction loss.

Shape legend: B batch, M masked groups, K points per group.
"""

from dataclasses import dataclass

from torch import Tensor

from pointrecon.extensions import ops

NORMS = {"l1": 1, "l2": 2}


@dataclass(frozen=True)
class Chamfer:
    """Distance between rebuilt and hidden patches.

    Attributes:
        norm: `l2` (squared distances) or `l1`.
        weight: of the term.
    """

    norm: str = "l2"
    weight: float = 1.0

    def __call__(self, rebuilt: Tensor, target: Tensor) -> Tensor:
        """The weighted term of (B, M, K, 3) and (B, M, K, 3)."""
        return self.weight * ops.chamfer_distance(rebuilt.flatten(0, 1), target.flatten(0, 1), NORMS[self.norm])
