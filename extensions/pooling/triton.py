"""The maximum over the points of a patch, read once.

Shape legend: P patches, K points per patch, C channels.
"""

# mypy: disable-error-code="no-untyped-def"
# The arguments of kernels are what Triton makes of them.

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backends.launch import launch

MAX_BLOCK = 512  # channels a program


def pool_max(x: Tensor) -> tuple[Tensor, Tensor]:
    """The maximum over the points, and which point has it.

    Args:
        x: (P, K, C) float32, bfloat16 or float16, contiguous; K at most 256.

    Returns:
        (P, C) of x's type, NaN where a point is NaN; (P, C) uint8, the first of equal points.
    """
    num_patches, num_points, width = x.shape
    values = x.new_empty(num_patches, width)
    index = torch.empty_like(values, dtype=torch.uint8)
    block = min(MAX_BLOCK, max(32, triton.next_power_of_2(width)))
    num_programs = num_patches * triton.cdiv(width, block)
    if num_programs:
        options = {"num_warps": max(1, block // 256), "BLOCK": block}
        launch(pool_kernel, num_programs, x, values, index, num_points, width, **options)
    return values, index


@triton.jit(do_not_specialize=["num_points"])
def pool_kernel(
    x,  # (P, K, C)
    values,  # (P, C)
    index,  # (P, C)
    num_points,
    width,
    BLOCK: tl.constexpr,
):
    """Some channels of one patch."""
    parts = tl.cdiv(width, BLOCK)
    patch = (tl.program_id(0) // parts).to(tl.int64)
    channel = tl.program_id(0) % parts * BLOCK + tl.arange(0, BLOCK)
    is_inside = channel < width
    x += patch * num_points * width + channel
    best = tl.load(x, mask=is_inside, other=0.0).to(tl.float32)
    place = tl.zeros_like(channel)
    for point in range(1, num_points):
        value = tl.load(x + point * width, mask=is_inside, other=0.0).to(tl.float32)
        # Once the best is NaN nothing is better; a NaN is better than any number.
        is_better = (value > best) | ((value != value) & (best == best))
        best = tl.where(is_better, value, best)
        place = tl.where(is_better, point, place)
    tl.store(values + patch * width + channel, best, mask=is_inside)
    tl.store(index + patch * width + channel, place, mask=is_inside)
