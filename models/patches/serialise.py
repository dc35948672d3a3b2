"""Patches in the order of a space-filling curve.

Shape legend: B batch, T patches.
"""

import torch
from torch import Tensor

BITS = 10  # of each coordinate


def morton_order(centers: Tensor) -> Tensor:
    """The order in which a Z-curve through the box around each cloud meets its patches (Morton, 1966).

    Args:
        centers: (B, T, 3).

    Returns:
        (B, T) int64, the numbers of the patches along the curve; equal ones in the order of their index.
    """
    low, high = centers.amin(dim=1, keepdim=True), centers.amax(dim=1, keepdim=True)
    # One scale for all axes, so that a cell is a cube.
    size = (high - low).amax(dim=2, keepdim=True).clamp(min=torch.finfo(centers.dtype).tiny)
    cells = ((centers - low) / size * (2**BITS - 1)).round().to(torch.int64)
    code = torch.zeros_like(cells[..., 0])
    for bit in range(BITS):
        for axis in range(3):
            code |= ((cells[..., axis] >> bit) & 1) << (3 * bit + axis)
    return code.argsort(dim=1, stable=True)
