"""Exact nearest neighbors of points of any width.

On a CPU the library forms all distances by subtraction. Elsewhere a matrix product chooses candidates:
|p|^2 - 2 p q orders points as fast as a matrix product, but its rounding misplaces some. So a few more candidates than
neighbors are taken and their distances formed by subtraction; where the rounding could have kept a neighbor out, those
of the whole row are.

Shape legend: B batch, N points, Q queries, C width of a point, K neighbors.
"""

import torch
from recon_point_ops.dispatch import select_backend
from recon_point_ops.knn import reference
from recon_point_ops.registry import is_plain
from torch import Tensor

NARROW = 8  # coordinates up to which subtraction is as fast as a product
MORE_CANDIDATES = 12
UNIT = 2.0**-24  # of rounding in float32


def find_neighbors(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest points of each query.

    Args:
        points: (B, N, C) float32, finite.
        queries: (B, Q, C) float32, finite, both contiguous.
        k: 1..N.

    Returns:
        Euclidean distances (B, Q, K) and indices (B, Q, K) int64, nearest first, ties to the lowest index.
    """
    backend = select_backend(points)
    if hasattr(backend, "knn_wide") and is_plain(points, queries):
        squared, index = backend.knn_wide(points, queries, k)
        return squared.sqrt(), index
    slab = max(1, reference.MAX_SLAB_ELEMENTS // max(1, points.shape[0] * points.shape[1]))
    is_exact = points.shape[-1] <= NARROW or k + MORE_CANDIDATES >= points.shape[1] or not _has_exact_products(points)
    find = _by_subtraction if is_exact else _by_candidates
    parts = [find(points, part, k) for part in queries.split(slab, dim=1)]
    squared, index = (torch.cat(results, dim=1) for results in zip(*parts, strict=True))
    return squared.sqrt(), index


def _has_exact_products(points: Tensor) -> bool:
    """Whether a matrix product is one of float32, and not of fewer digits for speed."""
    is_reduced = torch.get_float32_matmul_precision() != "highest"
    return not (is_reduced or (points.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32))


def _by_subtraction(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(B, N, C), (B, Q, C) -> squared distances and indices (B, Q, K), in (B, Q, N) floats of memory."""
    squared = points.new_zeros(points.shape[0], queries.shape[1], points.shape[1])
    for channel in range(points.shape[-1]):
        difference = queries[..., channel].unsqueeze(2) - points[..., channel].unsqueeze(1)
        squared.addcmul_(difference, difference)
    index = reference.smallest(squared, k)
    return squared.gather(-1, index), index


def _by_candidates(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The same by a matrix product and a check of what its rounding can have done."""
    middle = points.mean(dim=1, keepdim=True)
    near, asked = points - middle, queries - middle  # smaller numbers, smaller errors
    lengths = near.square().sum(dim=-1)
    with torch.autocast(points.device.type, enabled=False):
        scores = torch.baddbmm(lengths.unsqueeze(1), asked, near.transpose(1, 2), alpha=-2)
    values, candidates = scores.topk(k + MORE_CANDIDATES, dim=-1, largest=False, sorted=False)
    candidates = candidates.sort(dim=-1).values  # so that a stable sort puts the lowest index first
    squared = _squared_to(points, queries, candidates)
    squared, order = squared.sort(dim=-1, stable=True)
    squared, index = squared[..., :k], candidates.gather(-1, order[..., :k])
    # Whatever is no candidate is at least this far. Products of C numbers are off by less than (C + 2) units of their
    # size, centring adds two, the lengths and the subtraction as much again (Higham, Accuracy and Stability, 3.1).
    size = (asked.norm(dim=-1) + lengths.amax(dim=-1, keepdim=True).sqrt()).square()
    error = 8 * (points.shape[-1] + 8) * UNIT * size
    beyond = values.amax(dim=-1) + asked.square().sum(dim=-1) - error
    doubtful = ~(squared[..., -1] < beyond)
    for cloud in doubtful.any(dim=1).nonzero().flatten().tolist():
        rows = doubtful[cloud].nonzero().flatten()
        found = _by_subtraction(points[cloud : cloud + 1], queries[cloud : cloud + 1, rows], k)
        squared[cloud, rows], index[cloud, rows] = found[0][0], found[1][0]
    return squared, index


def _squared_to(points: Tensor, queries: Tensor, index: Tensor) -> Tensor:
    """(B, N, C), (B, Q, C), (B, Q, K) -> (B, Q, K) by subtraction."""
    batch = torch.arange(points.shape[0], device=points.device).view(-1, 1, 1)
    return (points[batch, index] - queries.unsqueeze(2)).square().sum(dim=-1)
