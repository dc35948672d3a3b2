"""Losses that distil a teacher into queries.

Each takes what it needs by keyword, of `student`, `teacher`, `mask` and `temperature`. Several queries of one name, or
several targets of one sample, are paired by their number: target i is for query i; one of either stands for all.

Shape legend: B batch, Q queries of one name, R targets of a sample, P pairs (Q = R, or one of them is 1), D width.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pointrecon.extensions import ops
from pointrecon.models.across import gather_rows, mean_over_processes
from pointrecon.models.losses import DISTILLATIONS
from pointrecon.utils.errors import InputError


@DISTILLATIONS.register("smooth_l1")
def smooth_l1_distillation(*, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Smooth-L1 with beta 1, mean over all elements (the published loss; neither side is normalised)."""
    if student.dim() == teacher.dim() == 2:
        return F.smooth_l1_loss(student, teacher)
    student, teacher, mask = pair(student, teacher, mask)
    return masked_mean(F.smooth_l1_loss(student, teacher, reduction="none").mean(dim=-1), mask)


@DISTILLATIONS.register("cosine")
def cosine_distillation(*, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - cosine similarity, mean over the batch."""
    if student.dim() == teacher.dim() == 2:
        return (1 - F.cosine_similarity(student, teacher, dim=-1)).mean()
    student, teacher, mask = pair(student, teacher, mask)
    return masked_mean(1 - F.cosine_similarity(student, teacher, dim=-1), mask)


@DISTILLATIONS.register("infonce")
def infonce_distillation(
    *, student: Tensor, teacher: Tensor, mask: Tensor | None = None, temperature: float | Tensor = 0.07
) -> Tensor:
    """Symmetric InfoNCE between students and teachers of a batch (CLIP; van den Oord et al., 2018).

    Samples whose teachers are equal (two objects of one name and prompt) need no care: what one's term pushes apart the
    other's pulls together, and the sum is that of a target shared among them. With several processes the batch is that
    of all of them: each has the rows of its own samples, and the mean over the processes is the loss of the whole.
    Several pairs of a sample are contrasted number by number, each among the samples that have it.
    """
    if student.dim() == teacher.dim() == 2:
        return _infonce(student, teacher, None, temperature)
    student, teacher, mask = pair(student, teacher, mask)
    terms = [_infonce(student[:, row], teacher[:, row], mask[:, row], temperature) for row in range(student.shape[1])]
    return torch.stack(terms).mean()


@DISTILLATIONS.register("matched")
def matched_distillation(*, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Smooth-L1 between queries and targets in the pairing that fits best, found for each sample (ReCon++).

    Targets in no order, such as views of an object, are shared out among the queries so that the sum of the inner
    products is largest; what is left over of either counts nothing. The mean over the samples that have a target, of
    all processes.
    """
    means, has_target = _matched_means(student, teacher, mask)
    return masked_mean(means, has_target)


@DISTILLATIONS.register("matched_sum")
def matched_sum_distillation(*, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """As `matched`, summed over the samples of this process's batch, as published.

    Processes average their gradients, so that its weight beside other terms depends on their number: 64 samples in each
    of 8 processes are the `matched` loss times 64, in one process times 512.
    """
    return _matched_means(student, teacher, mask)[0].sum()


def match(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """The pairing that fits best: (B, Q, D), (B, R, D), (B, R) -> (B, Q) int64, each query's target; -1: none."""
    with torch.no_grad(), torch.autocast(student.device.type, enabled=False):
        similarity = student.float() @ teacher.float().transpose(1, 2)
        return ops.assign(similarity, mask)


def _matched_means(student: Tensor, teacher: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """(B,) mean over the pairs of each sample, 0 without any; (B,) bool, whether it has one."""
    student, teacher = (x.unsqueeze(1) if x.dim() == 2 else x for x in (student, teacher))
    mask = present(teacher, mask)
    teacher = teacher.masked_fill(~mask.unsqueeze(-1), 0.0)  # what is not there may be anything
    chosen = match(student, teacher, mask)
    is_paired = chosen >= 0
    targets = teacher.gather(1, chosen.clamp(min=0).unsqueeze(-1).expand(-1, -1, teacher.shape[-1]))
    values = F.smooth_l1_loss(student, targets, reduction="none").mean(dim=-1).masked_fill(~is_paired, 0.0)
    # Each sample counts alike, however many targets it has.
    return values.sum(dim=1) / is_paired.sum(dim=1).clamp(min=1), is_paired.any(dim=1)


@dataclass(frozen=True)
class Distillation:
    """How one teacher's features become a loss.

    Attributes:
        dim: D of the teacher's features.
        loss: one of DISTILLATIONS; it is given those of `student`, `teacher`, `mask` and `temperature` that it takes.
        weight: of the term.
        temperature: for losses that have one.
        normalize: scale both sides to length 1 first.
        learn_temperature: the network learns the temperature, which then starts there, and the bias of losses that
            have one.
    """

    dim: int
    loss: Callable[..., Tensor] = smooth_l1_distillation
    weight: float = 1.0
    temperature: float = 0.07
    normalize: bool = False
    learn_temperature: bool = False
    takes: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parameters = inspect.signature(self.loss).parameters.values()
        takes_all = any(item.kind is item.VAR_KEYWORD for item in parameters)
        known = ("student", "teacher", "mask", "temperature", "bias")
        named = known if takes_all else tuple(item.name for item in parameters if item.name in known)
        object.__setattr__(self, "takes", named)
        if self.learn_temperature and "temperature" not in named:
            raise InputError(
                f"learn_temperature is on, but the loss {self.loss.__name__} has no temperature; set it to false, or "
                "choose infonce, multi_infonce, decoupled or siglip"
            )

    def __call__(
        self, student: Tensor, teacher: Tensor, mask: Tensor | None = None, learnt: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """The weighted term.

        Args:
            student: (B, D), or (B, Q, D) of several queries.
            teacher: (B, D), or (B, R, D) of several targets.
            mask: (B, R) bool, True = there is such a target; None: all are there.
            learnt: `temperature` and `bias`, where the network learns them.
        """
        teacher = teacher.to(torch.promote_types(teacher.dtype, torch.float32))
        if self.normalize:
            student, teacher = (F.normalize(x, dim=-1) for x in (student, teacher))
        if mask is not None and "mask" not in self.takes:
            raise InputError(f"the loss {self.loss.__name__} takes no mask, but some targets of a sample are missing")
        given: dict[str, Any] = {"student": student, "teacher": teacher, "mask": mask, "temperature": self.temperature}
        given.update(learnt or {})  # not `|=`, at which older compilers of torch stop
        return self.weight * self.loss(**{name: given[name] for name in self.takes if name in given})


def pair(student: Tensor, teacher: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and targets by their number: (B, Q, D) or (B, D), (B, R, D) or (B, D), (B, R) -> (B, P, D) twice, (B, P).

    Raises:
        InputError: Q and R differ, and neither is 1.
    """
    student, teacher = (x.unsqueeze(1) if x.dim() == 2 else x for x in (student, teacher))
    mask = present(teacher, mask)
    queries, targets = student.shape[1], teacher.shape[1]
    if queries != targets and 1 not in (queries, targets):
        raise InputError(
            f"there are {queries} queries for {targets} targets of a sample; give model.queries as many, or one, or "
            "the loss type matched"
        )
    count = max(queries, targets)
    teacher = teacher.masked_fill(~mask.unsqueeze(-1), 0.0)  # what is not there may be anything
    return student.expand(-1, count, -1), teacher.expand(-1, count, -1), mask.expand(-1, count)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values that are there, over all processes; 0 if there are none."""
    count = mean_over_processes(mask.sum().to(values.dtype))
    return values.masked_fill(~mask, 0.0).sum() / count.clamp(min=torch.finfo(values.dtype).tiny)


def present(teacher: Tensor, mask: Tensor | None) -> Tensor:
    """Which targets of (B, R, D) are there, (B, R) bool; all of them without a mask."""
    return torch.ones(teacher.shape[:2], dtype=torch.bool, device=teacher.device) if mask is None else mask


def _infonce(student: Tensor, teacher: Tensor, mask: Tensor | None, temperature: float | Tensor) -> Tensor:
    student, teacher = F.normalize(student, dim=-1), F.normalize(teacher, dim=-1)
    (all_students, first), (all_teachers, _) = (gather_rows(x) for x in (student, teacher))
    target = first + torch.arange(len(student), device=student.device)
    to_teachers, to_students = student @ all_teachers.T / temperature, teacher @ all_students.T / temperature
    if mask is None:
        return (F.cross_entropy(to_teachers, target) + F.cross_entropy(to_students, target)) / 2
    # A sample without this target is no negative for the others; its own row, which counts nothing, stays finite.
    is_own = torch.arange(len(all_students), device=student.device) == target.unsqueeze(1)
    is_absent = ~gather_rows(mask)[0] & ~is_own
    terms = [
        F.cross_entropy(logits.masked_fill(is_absent, float("-inf")), target, reduction="none")
        for logits in (to_teachers, to_students)
    ]
    return masked_mean((terms[0] + terms[1]) / 2, mask)
