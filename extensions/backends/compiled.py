"""CPU backend: C++ with vectors and threads."""

from ..assignment.compiled import assign
from ..attention.compiled import attention, cross_attention
from ..chamfer.compiled import chamfer_distance, nearest
from ..fps.compiled import fps
from ..interpolate.compiled import three_nn
from ..knn.compiled import knn, knn_wide
from ..patchify.compiled import patchify
from ..pooling.compiled import linear_max
from .library import is_available, unavailable_reason

__all__ = [
    "assign",
    "attention",
    "chamfer_distance",
    "cross_attention",
    "fps",
    "is_available",
    "knn",
    "knn_wide",
    "linear_max",
    "nearest",
    "patchify",
    "three_nn",
    "unavailable_reason",
]
