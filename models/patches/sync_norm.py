"""Batch-norm over the batches of all processes, on any device.

torch's own SyncBatchNorm runs on GPUs only; this one also serves processes on CPUs, with the same numbers.
Shape legend: n rows of this process, N rows of all, C channels.
"""

import torch
from torch import Tensor, nn

from pointrecon.models.across import count_rows, is_alone, sum_over_processes
from pointrecon.models.blocks.batch_norm import BatchNorm1d


class SyncBatchNorm1d(BatchNorm1d):
    """As `BatchNorm1d` on (n, C), with mean and variance over the rows of all processes in training."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, C) -> (n, C); n may differ between processes."""
        if not self.training or is_alone():
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            rows = x.to(torch.promote_types(x.dtype, torch.float32))
            count = count_rows(rows, len(rows))
            mean = sum_over_processes(rows.sum(dim=0)) / count
            # The variance from the centred rows: from squares alone it cancels.
            variance = sum_over_processes((rows - mean).square().sum(dim=0)) / count
            self.track(mean.detach(), variance.detach() * count / (count - 1))
            scaled = (rows - mean) * (variance + self.eps).rsqrt()
        return (scaled * self.weight + self.bias).to(x.dtype)


def merge_moments(mean: Tensor, variance: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance over the rows of all processes, from those of each.

    Args:
        mean: (C,) over the rows of this process.
        variance: (C,) over the rows of this process, biased.
        count: n.

    Returns:
        mean (C,), biased variance (C,) and N, with gradients to every process.
    """
    total = count_rows(mean, count)
    share = count / total
    merged = sum_over_processes(mean * share)
    return merged, sum_over_processes((variance + (mean - merged).square()) * share), total


def synchronize_norms(model: nn.Module) -> nn.Module:
    """Turns every batch-norm of a network into one over all processes; parameters and statistics stay the same tensors.

    Args:
        model: changed in place.

    Returns:
        The model.
    """
    for module in model.modules():
        if type(module) is BatchNorm1d:
            module.__class__ = SyncBatchNorm1d  # nothing but the forward pass differs
    return model
