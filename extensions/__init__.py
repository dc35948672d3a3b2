"""Point-cloud operations. Import from `extensions.ops`; this package needs torch and nothing else."""

from .dispatch import use_backend
from .ops import (
    assign,
    attention,
    chamfer_distance,
    cross_attention,
    fps,
    gather,
    group,
    knn,
    linear_max,
    patchify,
    three_interpolate,
    three_nn,
)

__version__ = "0.2.0"

__all__ = [
    "assign",
    "attention",
    "chamfer_distance",
    "cross_attention",
    "fps",
    "gather",
    "group",
    "knn",
    "linear_max",
    "patchify",
    "three_interpolate",
    "three_nn",
    "use_backend",
]
