"""Exact nearest neighbours.

One warp a query goes through the cloud a tile at a time and keeps the k best in registers. Nothing of shape (Q, N) is
formed. After the first tiles few points are nearer than the k-th so far, and a tile without one costs one pass.

Shape legend: B batch, N points, Q queries, K neighbours.
"""

# mypy: disable-error-code="no-untyped-def"
# The arguments of kernels are what Triton makes of them.

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backends.launch import distance_bits, launch, load_point, load_points
from . import reference

# Points a tile. Those of a small one that come in cost less; a large cloud, whose points seldom do, goes by faster.
SMALL_BLOCK, LARGE_BLOCK = 64, 512
LARGE = 32_768  # points per cloud
WARP = 32
MAX_NEIGHBORS = 512  # more would not stay in registers: the reference sorts better then

LARGEST = tl.constexpr(0x7FFFFFFF)  # above the bits of infinity


@torch.no_grad()
def knn(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """Exact k nearest neighbours; see `ops.knn`.

    Args:
        points: (B, N, 3) float32.
        queries: (B, Q, 3) float32.
        k: 1..N; above 512 the reference runs.

    Returns:
        (B, Q, k) int64, by increasing squared distance, ties to the lowest index.
    """
    if k > MAX_NEIGHBORS:
        return reference.knn(points, queries, k)
    batch, num_points, _ = points.shape
    num_queries = queries.shape[1]
    index = torch.empty(batch, num_queries, k, dtype=torch.int64, device=points.device)
    if index.numel():
        launch(
            knn_kernel,
            batch * num_queries,
            points.contiguous(),
            queries.contiguous(),
            index,
            num_points,
            num_queries,
            k,
            **tile_options(k, num_points),
        )
    return index


def tile_options(k: int, num_points: int) -> dict[str, int]:
    """Compile-time arguments of a kernel that looks for k neighbours among so many points."""
    # Not below a warp: half a warp would be reduced by shuffles instead of by one instruction.
    places = max(WARP, triton.next_power_of_2(k))
    block = LARGE_BLOCK if num_points >= LARGE else min(SMALL_BLOCK, max(WARP, triton.next_power_of_2(num_points)))
    return {"BLOCK": block, "K_BLOCK": places, "num_warps": 1 if places <= 128 else 4}


@triton.jit(do_not_specialize=["num_points", "num_queries", "k"])
def knn_kernel(
    points,  # (B, N, 3)
    queries,  # (B, Q, 3)
    index,  # (B, Q, K)
    num_points,
    num_queries,
    k,
    BLOCK: tl.constexpr,
    K_BLOCK: tl.constexpr,
):
    """The neighbours of one query."""
    row = tl.program_id(0).to(tl.int64)
    points += row // num_queries * num_points * 3
    qx, qy, qz = load_point(queries, row)
    nearest, place = search(points, qx, qy, qz, num_points, k, BLOCK, K_BLOCK)
    tl.store(index + row * k + place, nearest, mask=tl.arange(0, K_BLOCK) < k)


@triton.jit
def search(points, qx, qy, qz, num_points, k, BLOCK: tl.constexpr, K_BLOCK: tl.constexpr):
    """Exact search of one cloud.

    Args:
        points: pointer to (N, 3).
        qx, qy, qz: the query.
        num_points: N.
        k: neighbours, 1..N, at most K_BLOCK.
        BLOCK: points a tile.
        K_BLOCK: a power of two.

    Returns:
        Indices (K_BLOCK,) in no order, and the place 0..k-1 of each among the k; the first k lanes count.
    """
    lane = tl.arange(0, K_BLOCK)
    best = tl.where(lane < k, LARGEST, -1)  # bits of the k least distances so far; a lane past k is never the worst
    best_index = num_points + lane  # an empty lane has an index of its own, and is replaced before any point
    worst = tl.max(best)
    for start in range(0, num_points, BLOCK):
        index = start + tl.arange(0, BLOCK)
        is_inside = index < num_points
        x, y, z = load_points(points, index, is_inside)
        tile = tl.where(is_inside, distance_bits(x, y, z, qx, qy, qz), LARGEST)
        least = tl.min(tile)
        # Points come by distance within a tile, then by index, and tiles by index. So one that is as far as the worst
        # has a higher index than it, and stays out; of several worst ones the highest index leaves.
        while least < worst:
            entering = first_of(tile, least, index)
            leaving = tl.max(tl.where(best == worst, best_index, -1))
            is_leaving = best_index == leaving
            best = tl.where(is_leaving, least, best)
            best_index = tl.where(is_leaving, entering, best_index)
            worst = tl.max(best)
            tile = tl.where(index == entering, LARGEST, tile)
            least = tl.min(tile)
    place = tl.zeros_like(lane)
    best = tl.where(lane < k, best, LARGEST)
    for rank in range(k):
        following = first_of(best, tl.min(best), best_index)
        is_following = best_index == following
        place = tl.where(is_following, rank, place)
        best = tl.where(is_following, LARGEST, best)
    return best_index, place


@triton.jit
def first_of(values, wanted, index):
    """The lowest index at which a value stands."""
    return tl.min(tl.where(values == wanted, index, LARGEST))
