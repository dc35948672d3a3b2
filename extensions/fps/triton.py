"""Farthest point sampling.

Three schedules of one loop, by the size of the clouds and their number:
resident: a program a cloud, all points in its registers, the whole loop in one launch;
cooperative: few large clouds, several resident programs a cloud, which agree on each pick through global memory; they
must all run at once, which the launch makes sure of; POINT_OPS_COOPERATIVE=0 does without them;
stepwise: any size, a launch a pick, the distances in global memory.

Shape legend: B batch, N points, G samples, P parts of a cloud.
"""

# mypy: disable-error-code="no-untyped-def"
# The arguments of kernels are what Triton makes of them.

import os

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backends.launch import distance_bits, launch, load_point, load_points

MIN_BLOCK = 256
RESIDENT_POINTS = 8192  # more would not fit into the registers of one program
# Points a part: the fewest that leave no more parts than the GPU has processors.
COOPERATIVE_BLOCKS = (1024, 2048, 4096, 8192)
STEPWISE_BLOCK = 4096
# Warps a program, by its points: fewer points a thread make the reductions over the warps longer than they spare.
WARPS = {1024: 4, 2048: 4, 4096: 8, 8192: 8}

LARGEST_INDEX = tl.constexpr(0x7FFFFFFF)
INFINITY_BITS = tl.constexpr(0x7F800000)


@torch.no_grad()
def fps(points: Tensor, num_samples: int) -> Tensor:
    """Farthest point sampling; see `ops.fps`.

    Args:
        points: (B, N, 3) float32.
        num_samples: 1..N.

    Returns:
        (B, G) int64; index 0 first, ties to the lowest index.
    """
    points = points.contiguous()
    num_points = points.shape[1]
    if num_points <= RESIDENT_POINTS:
        block = max(MIN_BLOCK, triton.next_power_of_2(num_points))
        return sample_resident(points, num_samples, block)
    if block := _cooperative_block(points):
        return sample_resident(points, num_samples, block)
    return sample_stepwise(points, num_samples, STEPWISE_BLOCK)


def sample_resident(points: Tensor, num_samples: int, block: int) -> Tensor:
    """One launch, every point in a register; several programs a cloud where the block is smaller than the cloud.

    Args:
        points: (B, N, 3) float32, contiguous.
        num_samples: 1..N.
        block: points a program, a power of two. Below N, all the programs must fit onto the GPU at once.

    Returns:
        (B, G) int64.
    """
    batch, num_points, _ = points.shape
    parts = triton.cdiv(num_points, block)
    picked = torch.empty(batch, num_samples, dtype=torch.int64, device=points.device)
    keys = arrivals = picked  # of a cloud of one part nobody reads them
    options = {}
    if parts > 1:
        # A slot a pick, so that none has to be cleared while another program may still read it.
        keys = torch.zeros_like(picked)
        arrivals = torch.zeros_like(picked, dtype=torch.int32)
        options["launch_cooperative_grid"] = True
    launch(
        resident_kernel,
        batch * parts,
        points,
        picked,
        keys,
        arrivals,
        num_points,
        num_samples,
        num_warps=_num_warps(block),
        BLOCK=block,
        PARTS=parts,
        **options,
    )
    return picked


def sample_stepwise(points: Tensor, num_samples: int, block: int) -> Tensor:
    """One launch a pick: the end of a launch is what the programs of a cloud wait for.

    Args:
        points: (B, N, 3) float32, contiguous.
        num_samples: 1..N.
        block: points a program, a power of two.

    Returns:
        (B, G) int64.
    """
    batch, num_points, _ = points.shape
    parts = triton.cdiv(num_points, block)
    picked = torch.empty(batch, num_samples, dtype=torch.int64, device=points.device)
    nearest = torch.full((batch, num_points), INFINITY_BITS.value, dtype=torch.int32, device=points.device)
    # The winners of the parts, of this pick and of the one before. A key of index 0 alone starts it.
    keys = torch.zeros(2, batch, parts, dtype=torch.int64, device=points.device)
    keys[0, :, 0] = LARGEST_INDEX.value
    in_turn = keys.unbind(0)  # views made once: the loop is bound by what Python does in it
    for step in range(1, num_samples):
        launch(
            stepwise_kernel,
            batch * parts,
            points,
            picked,
            nearest,
            in_turn[(step - 1) % 2],
            in_turn[step % 2],
            step,
            num_points,
            num_samples,
            parts,
            num_warps=_num_warps(block),
            BLOCK=block,
            PARTS_BLOCK=triton.next_power_of_2(parts),
        )
    picked[:, -1] = LARGEST_INDEX.value - (keys[(num_samples - 1) % 2].amax(dim=1) & LARGEST_INDEX.value)
    return picked


def _cooperative_block(points: Tensor) -> int:
    """Points a part with which all parts of all clouds run at once; 0 if none does, or it is not wanted."""
    if points.device.type != "cuda" or os.environ.get("POINT_OPS_COOPERATIVE") == "0":
        return 0
    from triton.backends.nvidia.compiler import CUDAOptions

    if not hasattr(CUDAOptions, "launch_cooperative_grid"):
        return 0
    batch, num_points, _ = points.shape
    room = torch.cuda.get_device_properties(points.device).multi_processor_count
    return next((block for block in COOPERATIVE_BLOCKS if batch * triton.cdiv(num_points, block) <= room), 0)


def _num_warps(block: int) -> int:
    return WARPS.get(block, max(1, min(8, block // 256)))


@triton.jit(do_not_specialize=["num_points", "num_samples"])
def resident_kernel(
    points,  # (B, N, 3)
    picked,  # (B, G)
    keys,  # (B, G) zeros; not used by a cloud of one part
    arrivals,  # (B, G) zeros; not used by a cloud of one part
    num_points,
    num_samples,
    BLOCK: tl.constexpr,
    PARTS: tl.constexpr,
):
    """All picks of one cloud, or of one part of it together with the programs of the other parts."""
    cloud = (tl.program_id(0) // PARTS).to(tl.int64)
    part = tl.program_id(0) % PARTS
    points += cloud * num_points * 3
    picked += cloud * num_samples
    if PARTS > 1:
        keys += cloud * num_samples
        arrivals += cloud * num_samples
    index = part * BLOCK + tl.arange(0, BLOCK)
    is_inside = index < num_points
    x, y, z = load_points(points, index, is_inside)
    nearest = tl.where(is_inside, INFINITY_BITS, -1)  # squared distance to the nearest pick; -1: never the farthest
    last = 0
    tl.store(picked, last, mask=part == 0)
    for step in range(1, num_samples):
        px, py, pz = load_point(points, last)
        nearest = tl.minimum(nearest, distance_bits(x, y, z, px, py, pz))
        farthest, last = first_maximum(nearest, index)
        if PARTS > 1:
            last = agree(farthest, last, keys + step, arrivals + step, PARTS)
        tl.store(picked + step, last, mask=part == 0)


@triton.jit(do_not_specialize=["step", "num_points", "num_samples", "num_parts"])
def stepwise_kernel(
    points,  # (B, N, 3)
    picked,  # (B, G)
    nearest,  # (B, N) bits of the squared distance to the nearest pick
    keys_before,  # (B, P) winners of the pick before
    keys_now,  # (B, P)
    step,
    num_points,
    num_samples,
    num_parts,
    BLOCK: tl.constexpr,
    PARTS_BLOCK: tl.constexpr,
):
    """One pick of one part of a cloud: notes the pick before, brings the distances up to date, leaves the winner."""
    cloud = (tl.program_id(0) // num_parts).to(tl.int64)
    part = tl.program_id(0) % num_parts
    points += cloud * num_points * 3
    nearest += cloud * num_points
    lane = tl.arange(0, PARTS_BLOCK)
    last = index_of(tl.max(tl.load(keys_before + cloud * num_parts + lane, mask=lane < num_parts, other=0)))
    tl.store(picked + cloud * num_samples + step - 1, last, mask=part == 0)
    index = part * BLOCK + tl.arange(0, BLOCK)
    is_inside = index < num_points
    x, y, z = load_points(points, index, is_inside)
    px, py, pz = load_point(points, last)
    before = tl.load(nearest + index, mask=is_inside, other=-1)
    now = tl.minimum(before, distance_bits(x, y, z, px, py, pz))
    tl.store(nearest + index, now, mask=is_inside)
    farthest, winner = first_maximum(now, index)
    tl.store(keys_now + cloud * num_parts + part, key_of(farthest, winner))


@triton.jit
def first_maximum(values, index):
    """The largest of int32 values and the lowest index that has it."""
    largest = tl.max(values)
    return largest, tl.min(tl.where(values == largest, index, LARGEST_INDEX))


@triton.jit
def key_of(distance, index):
    """int64 that is larger for a larger distance and, among equal ones, for a lower index."""
    return (distance.to(tl.int64) << 32) | (index ^ LARGEST_INDEX).to(tl.int64)


@triton.jit
def index_of(key):
    """The index inside a key, int32."""
    return (key & LARGEST_INDEX).to(tl.int32) ^ LARGEST_INDEX


@triton.jit
def agree(distance, index, key, arrivals, PARTS: tl.constexpr):
    """The farthest point of all parts of a cloud; returns when the last of their programs has come.

    Args:
        distance: bits of the squared distance of this part's farthest point.
        index: that point.
        key: pointer to this pick's int64, 0 before the first program comes.
        arrivals: pointer to this pick's int32, 0 before the first program comes.
        PARTS: how many programs come, all of them running at once.

    Returns:
        The index, the same in all programs.
    """
    tl.atomic_max(key, key_of(distance, index), sem="relaxed")
    tl.debug_barrier()
    # Release makes this program's key visible before its arrival; acquire makes the others' visible after theirs.
    count = tl.atomic_add(arrivals, 1, sem="acq_rel") + 1
    while count < PARTS:
        count = tl.atomic_add(arrivals, 0, sem="acquire")
    # Read by an atomic that changes nothing: a plain load might be served from this processor's own cache.
    return index_of(tl.atomic_max(key, tl.zeros_like(key_of(distance, index)), sem="relaxed"))
