"""GPU backend: Triton kernels, compiled when first used, without nvcc and without a build step."""

from ..chamfer.triton import chamfer_distance, nearest, pairs_backward, pairs_forward
from ..fps.triton import fps
from ..interpolate.triton import three_nn
from ..knn.triton import knn
from ..patchify.triton import patchify
from ..pooling.triton import pool_max
from .launch import is_available, unavailable_reason

__all__ = [
    "chamfer_distance",
    "fps",
    "is_available",
    "knn",
    "nearest",
    "pairs_backward",
    "pairs_forward",
    "patchify",
    "pool_max",
    "three_nn",
    "unavailable_reason",
]
