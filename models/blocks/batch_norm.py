"""Batch-norm, and batch-norm with ReLU over rows of any shape.

Shape legend: n rows, C channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm1d(nn.BatchNorm1d):
    """As nn.BatchNorm1d on (n, C)."""

    momentum: float

    @torch.no_grad()
    def track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        """Moves the running statistics towards those of a batch, (C,) each."""
        running_mean, running_var, count = self.running_mean, self.running_var, self.num_batches_tracked
        assert running_mean is not None and running_var is not None and count is not None
        count += 1
        running_mean.lerp_(mean.to(running_mean.dtype), self.momentum)
        running_var.lerp_(unbiased_variance.to(running_var.dtype), self.momentum)


def norm_relu(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch-norm over all rows, then ReLU: (..., C) -> (..., C)."""
    return F.relu(norm(x.flatten(0, -2))).view(x.shape)
