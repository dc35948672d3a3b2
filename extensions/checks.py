"""What the point operations ask of their arguments, each mistake told with the argument's name and shape.

Shape legend: B batch, N points.
"""

import ctypes
import math
import numbers
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from .backends import library
from .registry import is_plain

INDEX_TYPES = (torch.int64, torch.int32)
# Coordinates between these have squared distances that are numbers, told apart as finely as the type can, and so have
# the sums of these over a batch.
SAFE_SIZES = {torch.float32: (2.0**-40, 2.0**50), torch.float64: (2.0**-459, 2.0**490)}

_magnitude = library.Function("point_ops_magnitude", 1, 2, 1)
_TwoFloats = ctypes.c_float * 2


def check_coordinates(**clouds: Tensor) -> list[Tensor]:
    """Holds clouds against what all operations on points need.

    Args:
        clouds: name -> (B, N, 3), floating point.

    Returns:
        The clouds in float32, or all in float64 if one of them is.

    Raises:
        ValueError: one is no such tensor, there is no cloud, or batch sizes or devices differ.
    """
    for name, points in clouds.items():
        if not isinstance(points, Tensor):
            raise ValueError(f"{name} must be a tensor of shape (B, N, 3), got {type(points).__name__}")
        check_dense(name, points)
        if points.dim() != 3 or points.shape[-1] != 3:
            raise ValueError(f"{name} must have shape (B, N, 3), got {tuple(points.shape)}")
        if not points.is_floating_point():
            raise ValueError(f"{name} must be floating point, got {points.dtype} of shape {tuple(points.shape)}")
        if points.shape[0] == 0:
            raise ValueError(f"{name} holds no cloud, its shape is {tuple(points.shape)}")
    first, *others = clouds.values()
    for points in others:
        if points.shape[0] != first.shape[0]:
            raise ValueError(f"the batch sizes differ: {first.shape[0]} and {points.shape[0]} ({_shapes(clouds)})")
        if points.device != first.device:
            raise ValueError(f"the devices differ: {first.device} and {points.device} ({_shapes(clouds)})")
    is_double = any(points.dtype == torch.float64 for points in clouds.values())
    return [points.to(torch.float64 if is_double else torch.float32) for points in clouds.values()]


def check_tensors(operation: str, **tensors: Tensor) -> None:
    """Holds what no other check looks at against what all operations need.

    Args:
        operation: name for the message.
        tensors: name -> tensor of any shape.

    Raises:
        ValueError: one is no tensor, or not dense, or they lie on several devices.
    """
    device = None
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{operation}: {name} must be a tensor, got {type(tensor).__name__}")
        check_dense(f"{operation}: {name}", tensor)
        device = device or tensor.device
        if tensor.device != device:
            raise ValueError(f"{operation}: the devices differ: {device} and {tensor.device} ({_shapes(tensors)})")


def check_dense(name: str, tensor: Tensor) -> None:
    """Refuses tensors whose elements do not lie in memory at regular distances.

    Args:
        name: for the message.
        tensor: of any shape.

    Raises:
        ValueError: it is nested, sparse or of another such layout.
    """
    if tensor.is_nested:  # which may have no shape to tell
        raise ValueError(f"{name} must be dense, got a nested tensor; pad it, or call this for each of its tensors")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} {tuple(tensor.shape)} must be dense, got {tensor.layout}")


def check_count(operation: str, name: str, count: int, points: Tensor) -> int:
    """Holds a number of points against what there is.

    Args:
        operation: name for the message.
        name: of the argument.
        count: its value.
        points: (B, N, 3).

    Returns:
        The count. In a trace, where sizes of tensors are tensors, it is a number of the trace.

    Raises:
        ValueError: it is no whole number in 1..N.
    """
    if torch.jit.is_tracing() and isinstance(count, Tensor):
        count = int(count)
    shape, most = tuple(points.shape), points.shape[1]
    if not isinstance(count, (numbers.Integral, torch.SymInt)):
        raise ValueError(f"{operation}: {name} is {count!r}, but must be a whole number (points {shape})")
    if most == 0:
        raise ValueError(f"{operation}: {name} is {count}, but the clouds have no point (points {shape})")
    if not 1 <= count <= most:
        raise ValueError(
            f"{operation}: {name} is {count}, but the clouds have {most} points (points {shape}); "
            f"it must lie in 1..{most}"
        )
    return count if isinstance(count, torch.SymInt) else int(count)


def check_rows(operation: str, features: Tensor, index: Tensor, axes: str, weight: Tensor | None = None) -> None:
    """Holds an index, and the weights that go with it, against the features whose rows it picks.

    Args:
        operation: name for the message.
        features: (B, N, C).
        index: int64 or int32 of shape `axes`, values in 0..N-1. These are looked at on the CPU alone, as in
            `check_finite`.
        axes: "(B, G)", for example: a batch of that many axes; a last axis "3" is that size.
        weight: of the index's shape.

    Raises:
        ValueError: something does not fit.
    """
    given = {"features": features, "index": index, **({} if weight is None else {"weight": weight})}
    for name, tensor in given.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{operation}: {name} must be a tensor, got {type(tensor).__name__}")
        check_dense(f"{operation}: {name}", tensor)
    is_index = index.dim() == axes.count(",") + 1 and (not axes.endswith(" 3)") or index.shape[-1] == 3)
    is_weight = weight is None or weight.shape == index.shape
    if features.dim() != 3 or not is_index or not is_weight or features.shape[0] != index.shape[0]:
        also = "" if weight is None else f" and weight {axes}"
        raise ValueError(f"{operation}: needs features (B, N, C), index {axes}{also} of one B, got {_shapes(given)}")
    if features.shape[0] == 0:
        raise ValueError(f"{operation}: features hold no cloud, their shape is {tuple(features.shape)}")
    if index.dtype not in INDEX_TYPES:
        raise ValueError(f"{operation}: index {tuple(index.shape)} must be int64 or int32, got {index.dtype}")
    for name, tensor in given.items():
        if tensor.device != features.device:
            raise ValueError(f"{operation}: features are on {features.device}, but {name} is on {tensor.device}")
    check_range(operation, "index", index, features.shape[1])


def check_range(operation: str, name: str, index: Tensor, size: int) -> None:
    """Refuses indices outside 0..size-1, where this does not make the processor wait for another device.

    Raises:
        ValueError: there is one.
    """
    if not is_plain(index) or not _is_looked_at(index) or index.numel() == 0:
        return
    low, high = (int(bound) for bound in index.aminmax())
    if low < 0 or high >= size:
        wrong = low if low < 0 else high
        raise ValueError(f"{operation}: {name} {tuple(index.shape)} has {wrong}, but must lie in 0..{size - 1}")


def check_finite(name: str, points: Tensor) -> None:
    """Refuses NaN and infinity on the CPU.

    On other devices the check would make the processor wait at every call; the environment variable POINT_OPS_CHECK=1
    asks for it there too.

    Args:
        name: of the argument, for the message.
        points: (B, N, C), floating point.

    Raises:
        ValueError: a coordinate is not finite.
    """
    if not _is_looked_at(points) or math.isfinite(magnitude_range(points)[0]):
        return
    cloud, place, _ = (~points.isfinite()).nonzero()[0].tolist()
    raise ValueError(
        f"{name} {tuple(points.shape)} must be finite, but point {place} of cloud {cloud} is "
        f"{points[cloud, place].tolist()}"
    )


def prepare(tolerated: Sequence[str] = (), **clouds: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """What the searches for points are given: finite, contiguous and of a size whose square is a number.

    Args:
        tolerated: as in `find_scale`.
        clouds: name -> (B, N, C) floating point, of one B and type.

    Returns:
        The clouds, contiguous; and the same to search in, scaled alike and without a graph where one had to be.

    Raises:
        ValueError: a coordinate is not finite.
    """
    given = [cloud.contiguous() for cloud in clouds.values()]
    scale = find_scale(tolerated, **dict(zip(clouds, given, strict=True)))
    return given, given if scale is None else [cloud.detach() / scale for cloud in given]


def find_scale(tolerated: Sequence[str] = (), **clouds: Tensor) -> Tensor | None:
    """What clouds have to be divided by, so that squared distances are numbers.

    In float32 the square of 1e20 is infinite and that of 1e-23 is 0, so that all distances would be equal. A division
    by a power of two changes no coordinate's digits and no order of distances. Like `check_finite` this looks at values
    on the CPU, elsewhere on request.

    Args:
        tolerated: names of those that may have a coordinate that is not finite; then nothing is scaled.
        clouds: name -> (B, N, C) float32 or float64, of one B and type.

    Returns:
        (B, 1, 1), a power of two for each cloud of the batch; None if all of them will do as they are.

    Raises:
        ValueError: a coordinate is not finite.
    """
    first = next(iter(clouds.values()))
    if not _is_looked_at(first):
        return None
    smallest, largest = SAFE_SIZES[first.dtype]
    is_safe = is_finite = True
    for name, cloud in clouds.items():
        most, least = magnitude_range(cloud)
        if not (most <= largest and least >= smallest):
            is_safe, is_finite = False, is_finite and math.isfinite(most)
            if name not in tolerated:
                check_finite(name, cloud)
    if is_safe or not is_finite:
        return None
    size = torch.cat([cloud.detach().abs() for cloud in clouds.values()], dim=1).amax(dim=(1, 2), keepdim=True)
    power = size / (2 * torch.frexp(size).mantissa)  # the largest in it, which is a number of the type for all sizes
    return power.where((size > largest) | ((size > 0) & (size < smallest)), 1.0)


def takes_float32_kernel(*tensors: Tensor) -> bool:
    """Whether a kernel of float32 alone may run: under autocast, and on what is not plain, torch's own functions do."""
    return all(x.dtype == torch.float32 for x in tensors) and (
        is_plain(*tensors) and not torch.is_autocast_enabled(tensors[0].device.type)
    )


def magnitude_range(points: Tensor) -> tuple[float, float]:
    """How large coordinates are, whatever their sign.

    Args:
        points: (B, N, C) floating point.

    Returns:
        The largest, not finite if one is not; the smallest of the clouds' largest, those of zeros alone left out,
        infinite if there is none.
    """
    points, count = points.detach(), points.numel()
    if count == 0:
        return 0.0, math.inf
    if points.dtype == torch.float32 and not library.unavailable_reason(points.device.type):
        both, batch = _TwoFloats(), len(points)
        _magnitude(points.contiguous(), batch, count // batch, ctypes.addressof(both))
        return both[0], both[1]
    flat = points.flatten(1)
    each = torch.maximum(flat.amax(dim=1), -flat.amin(dim=1))
    return each.max().item(), each.where(each > 0, math.inf).min().item()


def _is_looked_at(tensor: Tensor) -> bool:
    device = tensor.device.type
    return device == "cpu" or (device != "meta" and os.environ.get("POINT_OPS_CHECK", "0") not in ("", "0"))


def _shapes(tensors: dict[str, Tensor]) -> str:
    return " and ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
