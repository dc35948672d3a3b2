"""Pairs of rows and columns that fit best: the public function.

Shape legend: B problems, Q rows, R columns.
"""

import torch
from torch import Tensor

from ..checks import check_tensors
from ..registry import is_direct, is_in_onnx_export
from . import reference, registered


def assign(scores: Tensor, present: Tensor | None = None) -> Tensor:
    """For each problem the pairs whose scores have the largest sum, each row and each column in one at most.

    Args:
        scores: (B, Q, R), floating point of any size; no gradient flows. Infinite ones count before all others, NaN
            counts as 0.
        present: (B, R) bool, True = there is such a column; None: all are there.

    Returns:
        (B, Q) int64, the column of each row; -1 for rows that are left over, where there are fewer columns than rows.
        As many rows as can be have one. Which of several best assignments is taken is not defined.

    Raises:
        ValueError: a shape, type or device does not fit.
    """
    check_tensors("assign", scores=scores, **({} if present is None else {"present": present}))
    if scores.dim() != 3 or not scores.is_floating_point():
        raise ValueError(f"assign takes scores (B, Q, R) of floating point, got {tuple(scores.shape)} {scores.dtype}")
    if present is None:
        present = torch.ones(scores.shape[0], scores.shape[2], dtype=torch.bool, device=scores.device)
    if present.dtype != torch.bool or present.shape != (scores.shape[0], scores.shape[2]):
        raise ValueError(
            f"assign takes present (B, R) bool for scores {tuple(scores.shape)}, got {tuple(present.shape)} "
            f"{present.dtype}"
        )
    scores = scores.detach().to(torch.promote_types(scores.dtype, torch.float32))
    if is_direct(scores, present):
        return registered.assign(scores, present)
    if is_in_onnx_export():
        return reference.assign(scores, present)
    return registered.registered_assign(scores, present)
