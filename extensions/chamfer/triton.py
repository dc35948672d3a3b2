"""Chamfer distance.

Many pairs of small clouds, as in masked reconstruction, take a warp a pair: all its distances are in registers, and
the backward pass needs the chosen pairs alone. No sum is made by atomics, so results repeat bit for bit. Larger clouds
take the exact search for one neighbour.

Shape legend: B pairs, N points of a, M points of b.
"""

# mypy: disable-error-code="no-untyped-def"
# The arguments of kernels are what Triton makes of them.

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backends.launch import launch, load_points
from ..interpolate.reference import gather
from ..knn.triton import knn
from . import reference

MIN_BLOCK = 16
DISTANCES_PER_WARP = 2048


def chamfer_distance(a: Tensor, b: Tensor, norm: int = 2) -> Tensor:
    """Chamfer distance averaged over pairs of clouds; see `ops.chamfer_distance`.

    Args:
        a: (B, N, 3) float32.
        b: (B, M, 3) float32.
        norm: 1 or 2.

    Returns:
        A scalar, differentiable in a and b (subgradient 0 where two points coincide).
    """
    if max(a.shape[1], b.shape[1]) <= reference.SMALL_PAIR:
        return _SmallPairs.apply(a, b, norm)
    (from_a, _), (from_b, _) = nearest(a, b), nearest(b, a)
    return reference.combine_chamfer(from_a, from_b, norm)


def pairs_forward(a: Tensor, b: Tensor, norm: int) -> tuple[Tensor, Tensor, Tensor]:
    """The distance and which points it is made of, for clouds of at most `reference.SMALL_PAIR` points.

    Args:
        a: (B, N, 3) float32, contiguous.
        b: (B, M, 3) float32, contiguous.
        norm: 1 or 2.

    Returns:
        The scalar; the nearest in b of each point of a (B, N) and the other way (B, M), int8.
    """
    losses = a.new_empty(a.shape[0])
    nearest_b = torch.empty(a.shape[:2], dtype=torch.int8, device=a.device)
    nearest_a = torch.empty(b.shape[:2], dtype=torch.int8, device=a.device)
    sizes, options = _sizes(a, b, norm)
    launch(forward_kernel, a.shape[0], a, b, losses, nearest_b, nearest_a, *sizes, **options)
    return losses.mean(), nearest_b, nearest_a


def pairs_backward(
    a: Tensor, b: Tensor, nearest_b: Tensor, nearest_a: Tensor, grad: Tensor, norm: int
) -> tuple[Tensor, Tensor]:
    """Gradients (B, N, 3) and (B, M, 3) of what `pairs_forward` was given; grad is that of the scalar."""
    scale = (grad / a.shape[0]).float().contiguous()  # read by the kernel, so that nothing waits for the GPU here
    grad_a, grad_b = torch.empty_like(a), torch.empty_like(b)
    sizes, options = _sizes(a, b, norm)
    launch(backward_kernel, a.shape[0], a, b, nearest_b, nearest_a, scale, grad_a, grad_b, *sizes, **options)
    return grad_a, grad_b


def nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest point in b of each point of a.

    Args:
        a: (B, N, 3) float32.
        b: (B, M, 3) float32.

    Returns:
        Squared distances (B, N), differentiable through the chosen pairs, and indices (B, N) int64.
    """
    index = knn(b, a, 1).squeeze(-1)
    return (a - gather(b, index)).square().sum(dim=-1), index


class _SmallPairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, norm: int) -> Tensor:
        a, b = a.contiguous(), b.contiguous()
        loss, nearest_b, nearest_a = pairs_forward(a, b, norm)
        ctx.save_for_backward(a, b, nearest_b, nearest_a)
        ctx.norm = norm
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        a, b, nearest_b, nearest_a = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient may be asked for
            # Where coordinates are not finite there is no nearest, and the number is one past the last.
            index = nearest_b.long().clamp(max=b.shape[1] - 1), nearest_a.long().clamp(max=a.shape[1] - 1)
            return *reference.chamfer_gradient(a, b, *index, ctx.norm, grad), None
        return *pairs_backward(a, b, nearest_b, nearest_a, grad, ctx.norm), None


def _sizes(a: Tensor, b: Tensor, norm: int) -> tuple[tuple[int, int], dict[str, int]]:
    """The last arguments of the kernels: points per cloud, then what is fixed at compile time."""
    blocks = [max(MIN_BLOCK, triton.next_power_of_2(cloud.shape[1])) for cloud in (a, b)]
    num_warps = max(1, blocks[0] * blocks[1] // DISTANCES_PER_WARP)
    return (a.shape[1], b.shape[1]), {
        "NORM": norm,
        "A_BLOCK": blocks[0],
        "B_BLOCK": blocks[1],
        "num_warps": num_warps,
    }


@triton.jit(do_not_specialize=["num_a", "num_b"])
def forward_kernel(
    a,  # (B, N, 3)
    b,  # (B, M, 3)
    losses,  # (B,)
    nearest_b,  # (B, N) index into b
    nearest_a,  # (B, M) index into a
    num_a,
    num_b,
    NORM: tl.constexpr,
    A_BLOCK: tl.constexpr,
    B_BLOCK: tl.constexpr,
):
    """The distance of one pair."""
    pair = tl.program_id(0).to(tl.int64)
    a += pair * num_a * 3
    b += pair * num_b * 3
    from_a = mean_nearest(a, b, nearest_b + pair * num_a, num_a, num_b, NORM, A_BLOCK, B_BLOCK)
    from_b = mean_nearest(b, a, nearest_a + pair * num_b, num_b, num_a, NORM, B_BLOCK, A_BLOCK)
    tl.store(losses + pair, from_a + from_b if NORM == 2 else (from_a + from_b) / 2)


@triton.jit(do_not_specialize=["num_a", "num_b"])
def backward_kernel(
    a,  # (B, N, 3)
    b,  # (B, M, 3)
    nearest_b,  # (B, N) index into b
    nearest_a,  # (B, M) index into a
    scale,  # (): gradient of one pair's distance
    grad_a,  # (B, N, 3), written
    grad_b,  # (B, M, 3), written
    num_a,
    num_b,
    NORM: tl.constexpr,
    A_BLOCK: tl.constexpr,
    B_BLOCK: tl.constexpr,
):
    """Both gradients of one pair."""
    pair = tl.program_id(0).to(tl.int64)
    a += pair * num_a * 3
    b += pair * num_b * 3
    upstream = tl.load(scale)
    ax, ay, az, to_b = pull(a, b, nearest_b + pair * num_a, num_a, num_b, upstream / num_a, NORM, A_BLOCK)
    bx, by, bz, to_a = pull(b, a, nearest_a + pair * num_b, num_b, num_a, upstream / num_b, NORM, B_BLOCK)
    store_gradient(grad_a + pair * num_a * 3, ax, ay, az, bx, by, bz, to_a, num_a, A_BLOCK)
    store_gradient(grad_b + pair * num_b * 3, bx, by, bz, ax, ay, az, to_b, num_b, B_BLOCK)


@triton.jit
def mean_nearest(
    own, others, nearest, num_own, num_others, NORM: tl.constexpr, OWN: tl.constexpr, OTHERS: tl.constexpr
):
    """Mean over own points of the distance to the nearest other: squared, or with norm 1 its root.

    Writes to `nearest` (OWN,) which one it is, ties to the lowest index.
    """
    i, j = tl.arange(0, OWN), tl.arange(0, OTHERS)
    is_own, is_other = i < num_own, j < num_others
    x, y, z = load_points(own, i, is_own)
    u, v, w = load_points(others, j, is_other)
    # The axis that is reduced comes first, and so lies within a thread.
    dx, dy, dz = x[None, :] - u[:, None], y[None, :] - v[:, None], z[None, :] - w[:, None]
    squared = tl.where(is_other[:, None], dx * dx + dy * dy + dz * dz, float("inf"))
    least = tl.min(squared, axis=0)
    tl.store(nearest + i, tl.min(tl.where(squared == least[None, :], j[:, None], OTHERS), axis=0), mask=is_own)
    if NORM == 1:
        least = tl.sqrt_rn(least)
    return tl.sum(tl.where(is_own, least, 0.0)) / num_own


@triton.jit
def pull(own, others, nearest, num_own, num_others, upstream, NORM: tl.constexpr, OWN: tl.constexpr):
    """The gradient of own points through their own nearest, in x, y and z (OWN,), 0 past the last; and which it is."""
    i = tl.arange(0, OWN)
    is_own = i < num_own
    to = tl.load(nearest + i, mask=is_own, other=0).to(tl.int32)
    x, y, z = load_points(own, i, is_own)
    u, v, w = load_points(others, to, is_own & (to < num_others))
    dx, dy, dz = x - u, y - v, z - w
    if NORM == 2:
        factor = tl.where(is_own, 2 * upstream, 0.0)
    else:
        squared = dx * dx + dy * dy + dz * dz
        is_apart = is_own & (squared > 0)
        factor = tl.where(is_apart, 0.5 * upstream / tl.sqrt_rn(tl.where(is_apart, squared, 1.0)), 0.0)
    return factor * dx, factor * dy, factor * dz, to


@triton.jit
def store_gradient(grad, gx, gy, gz, ox, oy, oz, nearest, num_own, OWN: tl.constexpr):
    """Own points' gradient (OWN,), less what they pull at the others (OTHERS,) whose nearest they are."""
    i = tl.arange(0, OWN)
    is_nearest = nearest[:, None] == i[None, :]
    tl.store(grad + 3 * i, gx - tl.sum(tl.where(is_nearest, ox[:, None], 0.0), axis=0), mask=i < num_own)
    tl.store(grad + 3 * i + 1, gy - tl.sum(tl.where(is_nearest, oy[:, None], 0.0), axis=0), mask=i < num_own)
    tl.store(grad + 3 * i + 2, gz - tl.sum(tl.where(is_nearest, oz[:, None], 0.0), axis=0), mask=i < num_own)
