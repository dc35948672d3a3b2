"""Drop-in for the package `knn_cuda` 0.2: exact nearest neighbors, on any device.

Shape legend: B batch, N reference points, Q queries, C coordinates of a point, K neighbors.
"""

import torch
from recon_point_ops import dropin, ops
from torch import Tensor, nn

from .wide import find_neighbors

__version__ = "0.2"  # of the package that this one stands for

__all__ = ["KNN", "knn"]


class KNN(nn.Module):
    """The k nearest reference points of each query.

    Args:
        k: neighbors a query.
        transpose_mode: False: points are columns, (B, C, N); True: rows, (B, N, C).
    """

    def __init__(self, k: int, transpose_mode: bool = False) -> None:
        super().__init__()
        self.k = k
        self.transpose_mode = transpose_mode

    @torch.no_grad()
    def forward(self, ref: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Find neighbors.

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
        if all(isinstance(x, Tensor) and not x.is_complex() for x in (ref, query)):
            ref, query = ref.float(), query.float()  # clouds of integers too
        sizes = dropin.check_clouds("KNN", ref=(ref, axes[0]), query=(query, axes[1]))
        dropin.check_count("KNN", "k", self.k, sizes["N"], "ref")
        if not self.transpose_mode:
            ref, query = ref.transpose(1, 2), query.transpose(1, 2)
        distance, index = _nearest(ref.contiguous(), query.contiguous(), self.k)
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
    scale = dropin.find_scale(points=points, queries=queries)
    if scale is not None:
        points, queries = points / scale, queries / scale
    if points.shape[-1] != 3:
        distance, index = find_neighbors(points, queries, k)
    else:
        index = ops.knn(points, queries, k)
        distance = (queries.unsqueeze(2) - ops.group(points, index)).square().sum(dim=-1).sqrt()
    return distance if scale is None else distance * scale, index
