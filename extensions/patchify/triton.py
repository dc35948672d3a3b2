"""Point patches: centres by farthest point sampling, then neighbours, coordinates and centring in one kernel.

Shape legend: B batch, N points, G groups, K points per group.
"""

# mypy: disable-error-code="no-untyped-def"
# The arguments of kernels are what Triton makes of them.

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backends.launch import launch, load_point
from ..fps.triton import fps
from ..interpolate.reference import gather
from ..knn.triton import MAX_NEIGHBORS, knn, search, tile_options
from .reference import cut


def patchify(points: Tensor, num_groups: int, group_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut clouds into overlapping patches, without a graph; see `ops.patchify`, which has the gradient.

    Args:
        points: (B, N, 3) float32, contiguous.
        num_groups: 1..N.
        group_size: 1..N.

    Returns:
        Centres (B, G, 3); patches (B, G, K, 3) minus their centres, nearest point first; indices (B, G, K) int64.
    """
    return _cut(points, fps(points, num_groups), group_size)


def _cut(points: Tensor, picked: Tensor, group_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, 3), (B, G) -> centres (B, G, 3), patches (B, G, K, 3), indices (B, G, K)."""
    batch, num_groups = picked.shape
    if group_size > MAX_NEIGHBORS:
        index = knn(points, gather(points, picked), group_size)
        return *cut(points, picked, index), index
    centers = points.new_empty(batch, num_groups, 3)
    patches = points.new_empty(batch, num_groups, group_size, 3)
    index = torch.empty(batch, num_groups, group_size, dtype=torch.int64, device=points.device)
    launch(
        patch_kernel,
        batch * num_groups,
        points,
        picked,
        centers,
        patches,
        index,
        points.shape[1],
        num_groups,
        group_size,
        **tile_options(group_size, points.shape[1]),
    )
    return centers, patches, index


@triton.jit(do_not_specialize=["num_points", "num_groups", "k"])
def patch_kernel(
    points,  # (B, N, 3)
    picked,  # (B, G)
    centers,  # (B, G, 3)
    patches,  # (B, G, K, 3)
    index,  # (B, G, K)
    num_points,
    num_groups,
    k,
    BLOCK: tl.constexpr,
    K_BLOCK: tl.constexpr,
):
    """One patch."""
    row = tl.program_id(0).to(tl.int64)
    points += row // num_groups * num_points * 3
    cx, cy, cz = load_point(points, tl.load(picked + row))
    tl.store(centers + row * 3, cx)
    tl.store(centers + row * 3 + 1, cy)
    tl.store(centers + row * 3 + 2, cz)
    nearest, place = search(points, cx, cy, cz, num_points, k, BLOCK, K_BLOCK)
    is_inside = tl.arange(0, K_BLOCK) < k
    to = row * k + place
    tl.store(index + to, nearest, mask=is_inside)
    tl.store(patches + 3 * to, tl.load(points + 3 * nearest, mask=is_inside) - cx, mask=is_inside)
    tl.store(patches + 3 * to + 1, tl.load(points + 3 * nearest + 1, mask=is_inside) - cy, mask=is_inside)
    tl.store(patches + 3 * to + 2, tl.load(points + 3 * nearest + 2, mask=is_inside) - cz, mask=is_inside)
