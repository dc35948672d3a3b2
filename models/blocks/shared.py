"""One stream for both losses: queries are tokens among the patches, and everything attends to everything.

Shape legend: B batch, Q global queries, T patch tokens, C channels.
"""

import torch
from torch import Tensor

from pointrecon.models.blocks import BLOCKS
from pointrecon.models.blocks.layers import Block


@BLOCKS.register()
class SharedBlock(Block):
    """A plain pre-norm block over queries and patches together: vanilla multi-task learning in the paper's comparison.

    The layers have the names of `ReConBlock`'s patch stream.

    Attributes:
        may_stop: False: patches attend to queries and both losses move all weights, so there is nothing to stop.
    """

    may_stop = False

    def forward(self, queries: Tensor, tokens: Tensor, stop_grad: float) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Update both.

        Args:
            queries: (B, Q, C), positions added.
            tokens: (B, T, C), positions added.
            stop_grad: without effect.

        Returns:
            queries (B, Q, C) and tokens (B, T, C).
        """
        x = super().forward(torch.cat([queries, tokens], dim=1))
        return x[:, : queries.shape[1]], x[:, queries.shape[1] :]
