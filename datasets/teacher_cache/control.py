"""Targets that know nothing of their shape, as a control: whatever is still learnt from them is not knowledge.

Shape legend: n shapes, V vectors of a shape, D feature width.
"""

import torch
from torch import Tensor

NONE, SHUFFLED, RANDOM = CONTROLS = ("none", "shuffled", "random")


def other_rows(count: int, seed: int) -> Tensor:
    """For each of n shapes the row of another one: (n,) int64, a permutation in which none stays (unless n is 1)."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    rows = torch.empty_like(order)
    rows[order] = order.roll(1)
    return rows


def random_vectors(lengths: Tensor, dim: int, seed: int) -> Tensor:
    """A random direction for each shape: lengths (n, V) of its vectors -> (n, V, D) float32.

    All vectors of a shape keep one direction, so that it can be learnt.
    """
    directions = torch.randn(len(lengths), 1, dim, generator=torch.Generator().manual_seed(seed)).to(lengths.device)
    return directions / directions.norm(dim=-1, keepdim=True) * lengths.float().unsqueeze(-1)
