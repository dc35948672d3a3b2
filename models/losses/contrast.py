"""The class-wise contrastive loss.

Shape legend: B batch, D embedding width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pointrecon.models.across import gather_rows


@dataclass(frozen=True)
class Contrast:
    """The class-wise contrast of the cls query.

    Attributes:
        weight: of the term.
        temperature: of the similarities.
        dim: width of the projection.
    """

    weight: float = 1.0
    temperature: float = 0.1
    dim: int = 128

    def __call__(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """The weighted term of (B, D) and (B,) int64."""
        return self.weight * class_contrastive_loss(embedding, labels, temperature=self.temperature)


def class_contrastive_loss(embedding: Tensor, labels: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Class-wise contrast (the published `self_contrastive`, off by default there).

    For row i the positives are all columns of its class, itself included; their similarities are averaged into one
    positive logit, which competes with every negative. The columns are the samples of all processes.

    Args:
        embedding: (B, D), any length; normalised here.
        labels: (B,) int64.
        temperature: divides the similarities.

    Returns:
        Scalar, mean over rows.
    """
    z = F.normalize(embedding, dim=-1)
    similarity = z @ gather_rows(z)[0].T
    is_positive = labels.unsqueeze(1) == gather_rows(labels)[0].unsqueeze(0)
    positive = (similarity * is_positive).sum(dim=1) / is_positive.sum(dim=1) / temperature
    negatives = (similarity / temperature).masked_fill(is_positive, float("-inf"))
    everything = torch.cat([positive.unsqueeze(1), negatives], dim=1)
    return (everything.logsumexp(dim=1) - positive).mean()
