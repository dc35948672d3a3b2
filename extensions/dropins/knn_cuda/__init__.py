"""Drop-in for the package `knn_cuda` 0.2: exact nearest neighbours, on any device.

Shape legend: B batch, N reference points, Q queries, C coordinates of a point, K neighbours.
"""

import torch
from torch import Tensor, nn

try:
    from .. import dropin, ops, reference
except ImportError:  # imported under its own name, not as a part of the op package
    from recon_point_ops import dropin, ops, reference

__all__ = ["KNN", "knn"]


class KNN(nn.Module):
    """The k nearest reference points of each query.

    Args:
        k: neighbours a query.
        transpose_mode: False: points are columns, (B, C, N); True: rows, (B, N, C).
    """

    def __init__(self, k: int, transpose_mode: bool = False) -> None:
        super().__init__()
        self.k = k
        self.transpose_mode = transpose_mode

    @torch.no_grad()
    def forward(self, ref: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Find neighbours.

        Args:
            ref: (B, C, N), searched; (B, N, C) in transpose mode.
            query: (B, C, Q); (B, Q, C) in transpose mode.

        Returns:
            Euclidean distances, float32, and indices into ref, int64, nearest first, ties to the lowest index, without
            gradient: (B, K, Q) each; (B, Q, K) in transpose mode.

        Raises:
            ValueError: a shape does not fit, a coordinate is not finite, or k is not in 1..N.
        """
        axes = ("B N C", "B Q C") if self.transpose_mode else ("B C N", "B C Q")
        sizes = dropin.check_clouds("KNN", ref=(ref, axes[0]), query=(query, axes[1]))
        dropin.check_count("KNN", "k", self.k, sizes["N"], "ref")
        if not self.transpose_mode:
            ref, query = ref.transpose(1, 2), query.transpose(1, 2)
        distance, index = _nearest(ref.float().contiguous(), query.float().contiguous(), self.k)
        if not self.transpose_mode:
            distance, index = distance.transpose(1, 2).contiguous(), index.transpose(1, 2).contiguous()
        return distance, index

    def extra_repr(self) -> str:
        return f"k={self.k}, transpose_mode={self.transpose_mode}"


def knn(ref: Tensor, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest reference points of each query, for a single cloud.

    Args:
        ref: (C, N).
        query: (C, Q).
        k: 1..N.

    Returns:
        Euclidean distances (K, Q) float32 and indices (K, Q) int64; see `KNN`.

    Raises:
        ValueError: a shape does not fit, a coordinate is not finite, or k is not in 1..N.
    """
    dropin.check_shapes("knn", ref=(ref, "C N"), query=(query, "C Q"))
    distance, index = KNN(k)(ref.unsqueeze(0), query.unsqueeze(0))
    return distance[0], index[0]


def _nearest(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(B, N, C), (B, Q, C) -> (B, Q, K) distances, (B, Q, K) int64."""
    if points.shape[-1] != 3:
        return _nearest_of_any_width(points, queries, k)
    index = ops.knn(points, queries, k)
    return (queries.unsqueeze(2) - ops.group(points, index)).square().sum(dim=-1).sqrt(), index


def _nearest_of_any_width(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The same by the definition, a slab of queries at a time: features of any width, not only coordinates."""
    slab = max(1, reference.MAX_SLAB_ELEMENTS // max(1, points.shape[0] * points.shape[1]))
    parts = [_nearest_in_slab(points, part, k) for part in queries.split(slab, dim=1)]
    distances, indices = zip(*parts, strict=True)
    return torch.cat(distances, dim=1), torch.cat(indices, dim=1)


def _nearest_in_slab(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    squared = points.new_zeros(points.shape[0], queries.shape[1], points.shape[1])
    for channel in range(points.shape[-1]):  # by subtraction: |a|^2 - 2ab + |b|^2 misplaces neighbours
        squared += (queries[..., channel].unsqueeze(2) - points[..., channel].unsqueeze(1)).square_()
    values, index = squared.sort(dim=-1, stable=True)
    return values[..., :k].sqrt(), index[..., :k]
