"""Losses that hold a shape against all targets of all shapes: its own are its positives, however many there are.

The queries of a name are one student here, the direction of the mean of their directions. A target that is not there is
neither a positive nor a negative, and a shape without any counts nothing. Shapes count alike, however many targets they
have. With several processes the shapes are those of all: the mean of the processes' values, and of their gradients, is
that of one process with all of them.

Shape legend: B shapes of this process, A of all, Q queries of one name, R targets of a shape, D width.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pointrecon.models.across import gather_rows, mean_over_processes, pass_round
from pointrecon.models.losses import DISTILLATIONS
from pointrecon.models.losses.distillation import masked_mean, present

BIAS = -10.0  # of SigLIP's logits where it is not learnt, as it starts in the paper


@DISTILLATIONS.register("multi_infonce")
def multi_infonce(
    *, student: Tensor, teacher: Tensor, mask: Tensor | None = None, temperature: float | Tensor = 0.07
) -> Tensor:
    """InfoNCE with several positives (Khosla et al., 2020, their L_out), both ways, over the shapes of all processes.

    From a shape: the mean over its targets of the cross-entropy among all targets. From a target: the cross-entropy
    among all shapes.
    """
    return _contrast(student, teacher, mask, temperature, is_decoupled=False)


@DISTILLATIONS.register("decoupled")
def decoupled(
    *, student: Tensor, teacher: Tensor, mask: Tensor | None = None, temperature: float | Tensor = 0.07
) -> Tensor:
    """As `multi_infonce`, with the positives left out of the denominator (Yeh et al., 2022).

    A shape's targets then do not compete with each other. A batch needs two shapes with targets; one alone counts 0.
    """
    return _contrast(student, teacher, mask, temperature, is_decoupled=True)


@DISTILLATIONS.register("siglip")
def siglip(
    *,
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    temperature: float | Tensor = 0.1,
    bias: float | Tensor = BIAS,
) -> Tensor:
    """Each pair of a shape and a target by itself: the two belong together or not (Zhai et al., 2023).

    The sum over all pairs of all processes by the number of shapes with targets, and by the number of targets a shape.
    Nothing is gathered: the targets of the other processes come by in a ring, one process's at a time.
    """
    z, targets, mask = _directions(student, teacher, mask)
    share = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
    packed = torch.cat([targets, share.unsqueeze(-1).to(targets.dtype)], dim=-1)
    values = z.new_zeros(len(z))
    for others, is_own in pass_round(packed):
        logits = torch.einsum("bd,crd->bcr", z, others[..., :-1]) / temperature + bias
        own = torch.eye(len(z), dtype=z.dtype, device=z.device).unsqueeze(-1) if is_own else 0.0
        values = values - (F.logsigmoid((2 * own - 1) * logits) * others[..., -1]).sum(dim=(1, 2))
    # A shape without targets is a negative of the others all the same, so all values count.
    count = mean_over_processes(mask.any(dim=1).sum().to(values.dtype))
    return values.sum() / count.clamp(min=torch.finfo(values.dtype).tiny)


def _contrast(
    student: Tensor, teacher: Tensor, mask: Tensor | None, temperature: float | Tensor, *, is_decoupled: bool
) -> Tensor:
    z, targets, mask = _directions(student, teacher, mask)
    (all_z, first), (all_targets, _), (all_mask, _) = (gather_rows(x) for x in (z, targets, mask))
    own = first + torch.arange(len(z), device=z.device)
    is_own = own.unsqueeze(1) == torch.arange(len(all_z), device=z.device)  # (B, A)
    share = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)

    to_targets = torch.einsum("bd,ard->bar", z, all_targets) / temperature
    positive = to_targets[torch.arange(len(z), device=z.device), own]  # (B, R)
    is_out = ~all_mask.unsqueeze(0) | (is_own.unsqueeze(-1) & is_decoupled)
    from_shape = (positive * share).sum(dim=1) - _log_sum(to_targets.flatten(1), is_out.flatten(1))

    to_shapes = torch.einsum("brd,ad->bra", targets, all_z) / temperature
    # A shape without targets has been given no place to be, so it is no negative either.
    is_out = ~(all_mask.any(dim=1) | is_own).unsqueeze(1) | (is_own.unsqueeze(1) & is_decoupled)
    from_target = positive - _log_sum(to_shapes, is_out.expand_as(to_shapes))
    values = -(from_shape + (from_target * share).sum(dim=1)) / 2

    counts = mask.any(dim=1)
    if is_decoupled:  # nothing to be told from
        counts = counts & (all_mask.any(dim=1).unsqueeze(0) & ~is_own).any(dim=1)
    return masked_mean(values, counts)


def _log_sum(logits: Tensor, is_out: Tensor) -> Tensor:
    """Log of the sum of exponentials along the last axis, without some; 0 if none is left."""
    is_empty = is_out.all(dim=-1)
    kept = logits.masked_fill(is_out & ~is_empty.unsqueeze(-1), float("-inf"))
    return kept.logsumexp(dim=-1).masked_fill(is_empty, 0.0)


def _directions(student: Tensor, teacher: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors (B, D) and (B, R, D), and which targets are there, (B, R)."""
    student, teacher = (x.unsqueeze(1) if x.dim() == 2 else x for x in (student, teacher))
    mask = present(teacher, mask)
    teacher = teacher.masked_fill(~mask.unsqueeze(-1), 0.0)  # what is not there may be anything
    z = F.normalize(F.normalize(student, dim=-1).mean(dim=1), dim=-1)
    return z, F.normalize(teacher, dim=-1), mask
