"""The reconstruction loss.

Shape legend: B batch, M masked groups, K points per group, P = B * M pairs of patches, ch channels of a point.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from pointrecon.extensions import ops
from pointrecon.extensions.chamfer.registered import registered_nearest

NORMS = {"l1": (1,), "l2": (2,), "both": (2, 1)}


@dataclass(frozen=True)
class Chamfer:
    """Distance between rebuilt and hidden patches.

    Attributes:
        norm: `l2` (squared distances), `l1`, or `both` for their sum (ReCon++).
        weight: of the term.
        color: weight of the colours of points that have some, relative to the term.
    """

    norm: str = "l2"
    weight: float = 1.0
    color: float = 1.0

    def __call__(self, rebuilt: Tensor, target: Tensor) -> Tensor:
        """The weighted term of (B, M, K, 3) and (B, M, K, 3)."""
        a, b = rebuilt.flatten(0, 1), target.flatten(0, 1)
        first, *more = (ops.chamfer_distance(a, b, norm) for norm in NORMS[self.norm])
        return self.weight * sum(more, first)

    def terms(self, rebuilt: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The weighted terms `chamfer` and, of points with colours, `color`: (B, M, K, ch) twice, ch 3 or 6."""
        terms = {"chamfer": self(rebuilt[..., :3], target[..., :3])}
        if rebuilt.shape[-1] > 3 and self.color:
            terms["color"] = self.weight * self.color * color_loss(rebuilt.flatten(0, 1), target.flatten(0, 1))
        return terms


def color_loss(rebuilt: Tensor, target: Tensor) -> Tensor:
    """Smooth-L1 between the colour of each rebuilt point and that of its nearest target point: (P, K, 6) twice."""
    _, index = registered_nearest(rebuilt[..., :3].detach(), target[..., :3])
    return F.smooth_l1_loss(rebuilt[..., 3:], ops.gather(target[..., 3:], index))
