"""Assignment problems by the CPU library.

Shape legend: B problems, Q rows, R columns.
"""

import torch
from torch import Tensor

from ..backends.library import Function

_assign = Function("point_ops_assign", 2, 3, 1)


def assign(scores: Tensor, present: Tensor) -> Tensor:
    """(B, Q, R), (B, R) bool -> (B, Q) int64; see `ops.assign`."""
    chosen = torch.empty(scores.shape[:2], dtype=torch.int64)
    _assign(scores.contiguous(), present.contiguous(), *scores.shape, chosen)
    return chosen
