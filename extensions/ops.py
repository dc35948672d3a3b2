"""The public face of the point operations.

Coordinates are (..., 3). They are computed in float32, half precision is widened, also under autocast; double precision
stays double and runs in the reference. Indices are int64. Every operation works on any device, takes tensors of any
stride, and none loops over the batch. NaN and infinite coordinates, and indices out of range, are refused on the CPU;
on a GPU the check would make the processor wait at every call, so it has to be asked for: POINT_OPS_CHECK=1.
"""

from .assignment.face import assign
from .attention.face import attention, cross_attention
from .chamfer.face import chamfer_distance
from .fps.face import fps
from .interpolate.face import gather, group, three_interpolate, three_nn
from .knn.face import knn
from .patchify.face import patchify
from .pooling.face import linear_max

__all__ = ["assign", "attention", "chamfer_distance", "cross_attention", "fps", "gather", "group", "knn"]
__all__ += ["linear_max", "patchify", "three_interpolate", "three_nn"]
