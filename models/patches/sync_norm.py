"""Batch-norm over the batches of all processes, on any device.

torch's own SyncBatchNorm runs on GPUs only; this one also serves processes on CPUs, with the same numbers.
Shape legend: n rows of this process, N rows of all, C channels.
"""

import torch
from torch import Tensor, nn

from pointrecon.utils.processes import distributed


class SyncBatchNorm1d(nn.BatchNorm1d):
    """As nn.BatchNorm1d on (n, C), with mean and variance over the rows of all processes in training."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, C) -> (n, C); n may differ between processes."""
        if not self.training or distributed.world_size() == 1:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            rows = x.to(torch.promote_types(x.dtype, torch.float32))
            count = distributed.all_reduce_sum(rows.new_full((), len(rows)))
            mean = distributed.sum_with_gradient(rows.sum(dim=0)) / count
            # The variance from the centred rows: from squares alone it cancels.
            variance = distributed.sum_with_gradient((rows - mean).square().sum(dim=0)) / count
            self._track(mean.detach(), variance.detach() * count / (count - 1))
            scaled = (rows - mean) * (variance + self.eps).rsqrt()
        return (scaled * self.weight + self.bias).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased_variance, self.momentum)


def merge_moments(mean: Tensor, variance: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance over the rows of all processes, from those of each.

    Args:
        mean: (C,) over the rows of this process.
        variance: (C,) over the rows of this process, biased.
        count: n.

    Returns:
        mean (C,), biased variance (C,) and N, with gradients to every process.
    """
    total = distributed.all_reduce_sum(mean.new_full((), count))
    share = count / total
    merged = distributed.sum_with_gradient(mean * share)
    return merged, distributed.sum_with_gradient((variance + (mean - merged).square()) * share), total


def synchronize_norms(model: nn.Module) -> nn.Module:
    """Turns every batch-norm of a network into one over all processes; parameters and statistics stay the same tensors.

    Args:
        model: changed in place.

    Returns:
        The model.
    """
    for module in model.modules():
        if type(module) is nn.BatchNorm1d:
            module.__class__ = SyncBatchNorm1d  # nothing but the forward pass differs
    return model
