"""Patch embedding.

Shape legend: B batch, G groups, T groups kept, P = B * G patches, K points per group, C channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointrecon.extensions import ops
from pointrecon.models.blocks.batch_norm import BatchNorm1d, norm_relu
from pointrecon.models.patches.masking import take_groups
from pointrecon.models.patches.norm_fold import fold_norm, linear_moments, patch_moments


class MiniPointNet(nn.Module):
    """A small PointNet that turns each patch into one token (Point-BERT, section 3.1).

    Per point 3 -> W/4 -> W/2; the patch's maximum joins every point: W -> W -> C; maximum over the patch. Batch-norm
    follows the first and the third of these maps, over all points of all patches.

    Args:
        dim: C.
        width: W, a multiple of 4; published 512.
        channels: of a point, 3 unless it has more than coordinates.
    """

    def __init__(self, dim: int, width: int = 512, channels: int = 3) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, width // 4)
        self.norm1 = BatchNorm1d(width // 4)
        self.fc2 = nn.Linear(width // 4, width // 2)
        self.fc3 = nn.Linear(width, width)  # input order: [patch maximum, per point]
        self.norm2 = BatchNorm1d(width)
        self.fc4 = nn.Linear(width, dim)

    def forward(self, patches: Tensor) -> Tensor:
        """Embed patches, layer after layer: (B, G, K, 3) -> (B, G, C)."""
        x = self.fc2(norm_relu(self.norm1, self.fc1(patches)))
        x = torch.cat([x.amax(dim=2, keepdim=True).expand_as(x), x], dim=-1)
        x = self.fc4(norm_relu(self.norm2, self.fc3(x)))
        return x.amax(dim=2)


class FoldedPointNet(MiniPointNet):
    """`MiniPointNet` with less work; the numbers are those of its layers one after the other.

    Nothing lies between fc2 and fc3 but a maximum that is the same for all points of a patch, so the two are one map of
    a point's W/4 features and an offset per patch; and the statistics of both batch-norms follow from those of their
    layers' inputs, so the norms go into the layers' weights and patches whose token nobody wants end at their
    statistics.
    """

    def forward(self, patches: Tensor, keep: Tensor | None = None) -> Tensor:
        """Embed patches.

        Args:
            patches: (B, G, K, 3).
            keep: (B, T) int64, the patches whose tokens are wanted; None: all. The others count in the
                statistics of the batch-norms.

        Returns:
            (B, G or T, C).
        """
        batch, num_groups = patches.shape[:2]
        # Statistics and coordinates stay in float32: half precision has too few digits for either.
        with torch.autocast(patches.device.type, enabled=False):
            hidden = self._lift(patches.flatten(0, 1))
        pooled = ops.linear_max(hidden, self.fc2.weight)
        with torch.autocast(patches.device.type, enabled=False):
            weight, offset = self._join(hidden, pooled.to(hidden.dtype))
        if keep is not None:
            hidden, offset = (x.unflatten(0, (batch, num_groups)) for x in (hidden, offset))
            hidden, offset = (take_groups(x, keep).flatten(0, 1) for x in (hidden, offset))
        x = F.linear(hidden, weight)
        x = x.add_(offset.to(x.dtype).unsqueeze(1))
        return (ops.linear_max(x, self.fc4.weight, relu=True) + self.fc4.bias).unflatten(0, (batch, -1))

    def _lift(self, patches: Tensor) -> Tensor:
        """fc1, norm1 and ReLU: (P, K, 3) -> (P, K, W/4)."""
        moments = linear_moments(patches.flatten(0, 1), self.fc1.weight, self.fc1.bias) if self.training else None
        scale, shift = fold_norm(self.norm1, moments)
        return F.relu_(F.linear(patches, scale.unsqueeze(1) * self.fc1.weight, scale * self.fc1.bias + shift))

    def _join(self, hidden: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """fc3 and norm2 on [pooled + bias, fc2(hidden)], as one map and an offset.

        Args:
            hidden: (P, K, W/4).
            pooled: (P, W/2), the maximum of fc2(hidden) without the bias of fc2.

        Returns:
            weight (W, W/4) and offset (P, W): norm2's output is hidden @ weight.T + offset.
        """
        for_pooled, for_local = self.fc3.weight.split([pooled.shape[-1], self.fc2.out_features], dim=1)
        weight = for_local @ self.fc2.weight
        offset = F.linear(pooled, for_pooled, self.fc3.bias + (for_pooled + for_local) @ self.fc2.bias)
        scale, shift = fold_norm(self.norm2, patch_moments(hidden, weight, offset) if self.training else None)
        return scale.unsqueeze(1) * weight, scale * offset + shift
