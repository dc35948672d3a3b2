"""Batch-norm as a scale and a shift that the layer in front of it can take into its weights.

Where the mean and the variance of a layer's output follow from those of its input, the output need not be made twice,
once to be measured and once to be normalised.

Shape legend: n rows, P patches, K points per patch, C channels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointrecon.models.across import is_alone
from pointrecon.models.blocks.batch_norm import BatchNorm1d
from pointrecon.models.patches.sync_norm import SyncBatchNorm1d, merge_moments


def fold_norm(norm: BatchNorm1d, moments: tuple[Tensor, Tensor, int] | None) -> tuple[Tensor, Tensor]:
    """What batch-norm does to a row with mean and variance as given: row * scale + shift.

    Args:
        norm: its running statistics follow the moments in training.
        moments: mean (C,) and biased variance (C,) of the rows, and their number n; None in evaluation, where the
            running statistics count.

    Returns:
        scale (C,) and shift (C,), with gradients to the moments and to the norm's own parameters.
    """
    if moments is None:
        mean, variance = norm.running_mean, norm.running_var
    else:
        mean, variance, rows = moments
        count: Tensor | int = rows
        if isinstance(norm, SyncBatchNorm1d) and not is_alone():
            mean, variance, count = merge_moments(mean, variance, rows)
        norm.track(mean.detach(), variance.detach() * (count / (count - 1)))
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return scale, norm.bias - scale * mean


def linear_moments(rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and variance of `rows @ weight.T + bias`, from the mean and covariance of the rows.

    Args:
        rows: (n, D), D small: the work is n * D * D.
        weight: (C, D).
        bias: (C,).
    """
    mean = rows.mean(dim=0)
    centered = rows - mean
    covariance = centered.T @ centered / len(rows)
    return weight @ mean + bias, ((weight @ covariance) * weight).sum(dim=1), len(rows)


def patch_moments(hidden: Tensor, weight: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and variance over all points of `hidden @ weight.T + offset`, where the offset is one a patch.

    The variance is that within the patches, from the covariance of `hidden`, and that between their means. Neither
    term can be negative, so nothing cancels between them.

    Args:
        hidden: (P, K, D); the work is P * K * D * D.
        weight: (C, D).
        offset: (P, C).
    """
    num_patches, num_points, _ = hidden.shape
    means, covariance = _PatchCovariance.apply(hidden)
    within = ((weight @ covariance) * weight).sum(dim=1)
    outputs = means @ weight.T + offset
    mean = outputs.mean(dim=0)
    return mean, within + (outputs - mean).square().mean(dim=0), num_patches * num_points


class _PatchCovariance(torch.autograd.Function):
    """Means (P, D) of the patches of (P, K, D), and the covariance (D, D) about them over all points.

    Written out for its gradient: what the means contribute to that of the covariance is zero, since a patch's points
    about their mean add up to nothing; autograd would find this zero in several passes over all points.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
        means = hidden.mean(dim=1)
        centered = hidden - means.unsqueeze(1)
        ctx.save_for_backward(centered)
        rows = centered.flatten(0, 1)
        return means, rows.T @ rows / len(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_means: Tensor, grad_covariance: Tensor) -> Tensor:
        (centered,) = ctx.saved_tensors
        num_patches, num_points, _ = centered.shape
        grad = centered @ ((grad_covariance + grad_covariance.T) / (num_patches * num_points))
        return grad.add_((grad_means / num_points).unsqueeze(1))
