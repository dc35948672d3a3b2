"""Heads, and the features that heads and probes read.

Shape legend: B batch, Q queries, T patch tokens, C channels.
"""

import torch
from torch import Tensor, nn

from pointrecon.models.blocks.batch_norm import BatchNorm1d
from pointrecon.models.blocks.layers import Dropout
from pointrecon.utils.errors import InputError, check_choice

HEADS = ("linear", "mlp3")


def classifier_feature(queries: Tensor, tokens: Tensor) -> Tensor:
    """[one vector for each name of queries, maximum over patches] (ReCon, section 4.1).

    (B, names, C), (B, T, C) -> (B, (names + 1) * C).
    """
    return torch.cat([queries.flatten(1), tokens.max(dim=1).values], dim=-1)


def probe_feature(queries: Tensor, tokens: Tensor) -> Tensor:
    """[max over queries; max + mean over patches]: (B, Q, C), (B, T, C) -> (B, 2C), what the linear SVM sees."""
    return torch.cat([queries.max(dim=1).values, tokens.max(dim=1).values + tokens.mean(dim=1)], dim=-1)


def make_head(kind: str, in_dim: int, num_classes: int, dropout: float = 0.5) -> nn.Module:
    """The classification head.

    Args:
        kind: `linear`, or `mlp3` (in_dim -> 256 -> 256 -> classes with batch-norm, ReLU and dropout).
        in_dim: width of the feature.
        num_classes: number of logits.
        dropout: rate, mlp3 only.

    Raises:
        InputError: kind is neither.
    """
    check_choice("classifier.head", kind, HEADS)
    if kind == "linear":
        return nn.Sequential(nn.Linear(in_dim, num_classes))
    layers: list[nn.Module] = []
    for width_in, width_out in ((in_dim, 256), (256, 256)):
        layers += [nn.Linear(width_in, width_out), BatchNorm1d(width_out), nn.ReLU(), Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(256, num_classes))


def make_contrast_head(in_dim: int, dim: int = 128) -> nn.Sequential:
    """Projection of the cls query for the class-wise contrastive loss: Linear, batch-norm, ReLU, Linear, batch-norm."""
    return nn.Sequential(nn.Linear(in_dim, dim), BatchNorm1d(dim), nn.ReLU(), nn.Linear(dim, dim), BatchNorm1d(dim))


def check_finite(values: Tensor, what: str) -> None:
    """Of what is not finite no class is the largest, but `argmax` names one, and an accuracy of chance would follow.

    Args:
        values: (n, ...) of a network.
        what: what they are, for the message.

    Raises:
        InputError: some are not finite.
    """
    bad = int((~values.isfinite()).flatten(1).any(dim=1).sum())
    if bad:
        raise InputError(
            f"the {what} of {bad} of {len(values)} objects are not finite, so nothing is measured: the weights are too "
            "large; train again with a smaller optim.lr or with optim.grad_clip, or give another checkpoint"
        )
