"""Losses that distil teachers into queries, and the class-wise contrastive loss.

Shape legend: B batch, D feature width.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pointrecon.utils.processes import distributed


def smooth_l1_distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Smooth-L1 with beta 1, mean over all elements (the published loss; neither side is normalised)."""
    return F.smooth_l1_loss(student, teacher)


def cosine_distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """1 - cosine similarity, mean over the batch."""
    return (1 - F.cosine_similarity(student, teacher, dim=-1)).mean()


def infonce_distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE between students and teachers of a batch (CLIP; van den Oord et al., 2018).

    Samples whose teachers are equal (two objects of one name and prompt) need no care: what one's term pushes apart the
    other's pulls together, and the sum is that of a target shared among them. With several processes the batch is that
    of all of them: each has the rows of its own samples, and the mean over the processes is the loss of the whole.
    """
    student, teacher = F.normalize(student, dim=-1), F.normalize(teacher, dim=-1)
    all_students, all_teachers = (distributed.all_gather_rows(x) for x in (student, teacher))
    target = distributed.rank() * len(student) + torch.arange(len(student), device=student.device)
    to_teachers, to_students = student @ all_teachers.T / temperature, teacher @ all_students.T / temperature
    return (F.cross_entropy(to_teachers, target) + F.cross_entropy(to_students, target)) / 2


DISTILLATIONS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "smooth_l1": smooth_l1_distillation,
    "cosine": cosine_distillation,
    "infonce": infonce_distillation,
}


def class_contrastive_loss(embedding: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
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
    similarity = z @ distributed.all_gather_rows(z).T
    is_positive = labels.unsqueeze(1) == distributed.all_gather_rows(labels).unsqueeze(0)
    positive = (similarity * is_positive).sum(dim=1) / is_positive.sum(dim=1) / temperature
    negatives = (similarity / temperature).masked_fill(is_positive, float("-inf"))
    everything = torch.cat([positive.unsqueeze(1), negatives], dim=1)
    return (everything.logsumexp(dim=1) - positive).mean()
