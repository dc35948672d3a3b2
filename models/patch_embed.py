"""Patch embedding.

Shape legend: B batch, G groups, K points a group, C channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MiniPointNet(nn.Module):
    """A small PointNet that turns each patch into one token (Point-BERT, section 3.1).

    Per point 3 -> W/4 -> W/2; the patch's maximum joins every point: W -> W -> C; maximum over the patch.

    Args:
        dim: C.
        width: W, a multiple of 4; published 512.
    """

    def __init__(self, dim: int, width: int = 512) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, width // 4)
        self.norm1 = nn.BatchNorm1d(width // 4)
        self.fc2 = nn.Linear(width // 4, width // 2)
        self.fc3 = nn.Linear(width, width)  # input order: [patch maximum, per point]
        self.norm2 = nn.BatchNorm1d(width)
        self.fc4 = nn.Linear(width, dim)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, G, K, 3) -> (B, G, C)."""
        batch, num_groups, group_size, _ = patches.shape
        hidden = F.relu(self.norm1(self.fc1(patches.reshape(-1, 3)))).view(batch * num_groups, group_size, -1)
        pooled = self.fc2(hidden).max(dim=1).values
        x = F.relu(self.norm2(self._join(pooled, hidden).flatten(0, 1)))
        x = self.fc4(x).view(batch, num_groups, group_size, -1)
        return x.max(dim=2).values

    def _join(self, pooled: Tensor, hidden: Tensor) -> Tensor:
        """fc3 on [pooled, fc2(hidden)], (P, W/2) and (P, K, W/4) -> (P, K, W), with a quarter of the work.

        fc3 splits into a part for each half. The pooled half is the same for all points of a patch, and nothing lies
        between fc2 and the local half, so that their product is one map from W/4 to W.
        """
        for_pooled, for_local = self.fc3.weight.split([pooled.shape[-1], self.fc2.out_features], dim=1)
        bias = self.fc3.bias + for_local @ self.fc2.bias
        return F.linear(hidden, for_local @ self.fc2.weight) + F.linear(pooled, for_pooled, bias).unsqueeze(1)


def select_rows(x: Tensor, keep: Tensor) -> Tensor:
    """Pick the same number of groups from every sample.

    Args:
        x: (B, G, ...).
        keep: (B, G) bool with the same count of True in each row.

    Returns:
        (B, kept, ...) in the order of the group index.
    """
    index = keep.flatten().nonzero().squeeze(1)
    return torch.index_select(x.flatten(0, 1), 0, index).unflatten(0, (x.shape[0], -1))
