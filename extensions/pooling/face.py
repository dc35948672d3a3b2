"""The maximum over each patch's points of a linear map: the public function.

Shape legend: P patches, K points per patch, D width of a point, C channels.
"""

from torch import Tensor
from torch.nn import functional as F

from ..checks import check_tensors, takes_float32_kernel
from ..dispatch import select_backend
from ..registry import is_transformed
from . import reference
from .registered import registered_pool_max

MAX_POOLED = 256  # points per patch whose place fits into a byte


def linear_max(x: Tensor, weight: Tensor, relu: bool = False) -> Tensor:
    """The maximum over each patch's points of a linear map, as PointNets pool (Qi et al., 2017).

    Args:
        x: (P, K, D) features, in the precision of a matrix product: autocast applies.
        weight: (C, D).
        relu: pool the map of max(x, 0).

    Returns:
        (P, C), differentiable in both (once); the gradient goes to the first of equal points.

    Raises:
        ValueError: a shape or device does not fit, or there is no point.
    """
    check_tensors("linear_max", x=x, weight=weight)
    if x.dim() != 3 or weight.dim() != 2 or x.shape[2] != weight.shape[1] or x.shape[1] == 0:
        raise ValueError(
            f"linear_max takes x (P, K, D) with K of at least 1 and weight (C, D), got {tuple(x.shape)} and "
            f"{tuple(weight.shape)}"
        )
    if x.device.type == "cuda" and x.shape[1] <= MAX_POOLED and not is_transformed():
        return registered_pool_max(F.linear(x.relu() if relu else x, weight))[0]
    backend = select_backend(x, "linear_max") if takes_float32_kernel(x, weight) else reference
    return backend.linear_max(x, weight, relu)
