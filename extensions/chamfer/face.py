"""The Chamfer distance: the public function.

Shape legend: B pairs, N points of a, M points of b.
"""

import torch
from torch import Tensor

from ..checks import check_coordinates
from ..registry import is_in_onnx_export, is_plain, is_transformed
from . import reference
from .registered import chamfer, registered_nearest, registered_pairs


def chamfer_distance(a: Tensor, b: Tensor, norm: int = 2) -> Tensor:
    """Chamfer distance between pairs of clouds, averaged over all of them.

    With p = squared distance from each point of a to its nearest in b, q the other way (Fan et al., 2017):
    norm 2 is mean(p) + mean(q); norm 1 is (mean(sqrt p) + mean(sqrt q)) / 2.

    Args:
        a: (B, N, 3) float32.
        b: (B, M, 3) float32.
        norm: 1 or 2.

    Returns:
        A scalar, differentiable in a and b (subgradient 0 where two points coincide). It is not finite if a coordinate
        of a network's output is not: what requires a gradient is not refused, so that training can tell of its loss.

    Raises:
        ValueError: a shape does not fit, a coordinate is not finite, a cloud is empty, or norm is neither 1 nor 2.
    """
    a, b = check_coordinates(a=a, b=b)
    if norm not in (1, 2):
        raise ValueError(f"chamfer_distance: norm is {norm!r}; it must be 1 or 2")
    if a.numel() == 0 or b.numel() == 0:
        raise ValueError(f"chamfer_distance: a cloud is empty: {tuple(a.shape)} against {tuple(b.shape)}")
    # What requires a gradient comes from a network: it is not refused, so that training can tell of its loss.
    check_a, check_b = not a.requires_grad, not b.requires_grad
    if is_plain(a, b):
        return chamfer(a, b, norm, check_a, check_b)
    if is_in_onnx_export():
        return reference.chamfer_distance(a, b, norm)
    is_small = max(a.shape[1], b.shape[1]) <= reference.SMALL_PAIR and a.device.type == "cuda"
    if is_small and a.dtype == torch.float32 and not is_transformed():
        return registered_pairs(a, b, norm, check_a, check_b)[0]
    if norm == 1 or is_transformed():  # a root of a square would not do: it may have been no number
        _, index_a = registered_nearest(a.detach(), b.detach(), check_a, check_b)
        _, index_b = registered_nearest(b.detach(), a.detach())
        return reference.between_chosen(a, b, index_a, index_b, norm)
    (from_a, _), (from_b, _) = registered_nearest(a, b, check_a, check_b), registered_nearest(b, a)
    return reference.combine_chamfer(from_a, from_b, norm)
