"""Plain torch definitions of the operations: the truth that every other backend is tested against."""

from ..assignment.reference import assign
from ..attention.reference import attention, cross_attention
from ..chamfer.reference import (
    chamfer_distance,
    chamfer_gradient,
    combine_chamfer,
    nearest,
    pairs_backward,
    pairs_forward,
)
from ..fps.reference import fps
from ..interpolate.reference import gather, group, three_interpolate, three_nn
from ..knn.reference import knn, squared_distances
from ..patchify.reference import patchify
from ..pooling.reference import linear_max, pool_max

__all__ = [
    "assign",
    "attention",
    "chamfer_distance",
    "chamfer_gradient",
    "combine_chamfer",
    "cross_attention",
    "fps",
    "gather",
    "group",
    "knn",
    "linear_max",
    "nearest",
    "pairs_backward",
    "pairs_forward",
    "patchify",
    "pool_max",
    "squared_distances",
    "three_interpolate",
    "three_nn",
]
