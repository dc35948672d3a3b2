"""Batch-norm whose statistics do not depend on where they start, and batch-norm with ReLU over rows of any shape.

Shape legend: n rows, C channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DECAY = 3  # how fast the first batches are forgotten
NEVER_NEGATIVE = ("running_var", "num_batches_tracked")


def is_possible(key: str, value: Tensor) -> bool:
    """Whether a tensor of a state dict is finite and, if its key names such a statistic, not negative."""
    is_negative = key.endswith(NEVER_NEGATIVE) and bool((value < 0).any())
    return not is_negative and bool(value.isfinite().all())


class BatchNorm1d(nn.BatchNorm1d):
    """As nn.BatchNorm1d on (n, C), with running statistics that are averages of batches from the first batch on.

    torch moves them by the momentum m at every batch, so that after k batches (1 - m)^k of them is still the mean 0 and
    the variance 1 that they start at: after 56 batches .003, which for features of small variance is all there is.
    Here batch k counts at least 4 / (k + 3): the first one replaces the start, the next ones forget the earliest, whose
    weights were others (Shamir and Zhang, 2013: polynomial-decay averaging), and from batch 37 on, with m = .1, the two
    are the same. The statistics themselves are right, so a checkpoint needs nothing more and any reader of it computes
    the same.

    Attributes:
        is_plain: move them as torch and the published code do.
    """

    momentum: float
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    is_plain: bool = False

    def forward(self, x: Tensor) -> Tensor:
        """(n, C) -> (n, C)."""
        if not self.training:
            return super().forward(x)
        # With the momentum 1, torch leaves the statistics of the batch itself, at no further pass over the rows.
        mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        y = F.batch_norm(x, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        self.track(mean, variance)
        return y

    @torch.no_grad()
    def track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        """Moves the running statistics towards those of a batch, (C,) each. The host does not wait for the device."""
        self.num_batches_tracked += 1
        share: Tensor | float = self.momentum
        if not self.is_plain:
            share = ((1 + DECAY) / (self.num_batches_tracked + DECAY)).clamp(min=self.momentum)
            share = share.to(self.running_mean.dtype)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased_variance.to(self.running_var.dtype), share)


def use_plain_statistics(model: nn.Module) -> nn.Module:
    """Has every batch-norm of a network move its statistics as the published code does; changed in place."""
    for module in model.modules():
        if isinstance(module, BatchNorm1d):
            module.is_plain = True
    return model


def norm_relu(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch-norm over all rows, then ReLU: (..., C) -> (..., C)."""
    return F.relu(norm(x.flatten(0, -2))).view(x.shape)
