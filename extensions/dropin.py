"""What the drop-in packages share: their callers know other argument names, so mistakes are told in those."""

import math
import numbers

import torch
from torch import Tensor

from .checks import SAFE_SIZES, check_dense, check_range
from .checks import find_scale as find_scale_of
from .registry import is_plain


def check_shapes(function: str, **arguments: tuple[Tensor, str]) -> dict[str, int]:
    """Holds the shapes of a call against what it needs.

    Args:
        function: name for the message.
        arguments: name -> (tensor, its axes). Axes are "B N 3": a number is that size; a letter any size, but the same
            wherever it occurs.

    Returns:
        The size of each letter.

    Raises:
        ValueError: an argument is no tensor or not dense, has another shape, or lies on another device than the first.
    """
    sizes: dict[str, int] = {}
    device = None
    for name, (tensor, axes) in arguments.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{function}: {name} must be a tensor, got {type(tensor).__name__}")
        check_dense(f"{function}: {name}", tensor)
        names, wanted = axes.split(), f"({', '.join(axes.split())})"
        known = dict(sizes)
        is_right = tensor.dim() == len(names) and all(
            size == (int(axis) if axis.isdigit() else sizes.setdefault(axis, size))
            for axis, size in zip(names, tensor.shape, strict=True)
        )
        if not is_right:
            given = " and ".join(f"{axis} = {known[axis]}" for axis in names if axis in known)
            wanted += f" with {given}" if given else ""
            raise ValueError(f"{function}: {name} must have shape {wanted}, got {tuple(tensor.shape)}")
        device = device or tensor.device
        if tensor.device != device:
            raise ValueError(f"{function}: {name} is on {tensor.device}, but the arguments before it are on {device}")
    return sizes


def check_clouds(function: str, **clouds: tuple[Tensor, str]) -> dict[str, int]:
    """Holds clouds against what a search among points needs: `check_shapes`, floating point, not empty, finite.

    Args:
        function: name for the message.
        clouds: name -> (tensor, its axes), as in `check_shapes`.

    Returns:
        The size of each letter.

    Raises:
        ValueError: one is not so. Whether they are finite is looked at on the CPU alone, where it costs no waiting, and
            not for what requires a gradient: a network's output may be off, and its loss has to tell.
    """
    sizes = check_shapes(function, **clouds)
    for name, (tensor, _) in clouds.items():
        what = f"{function}: {name} {tuple(tensor.shape)}"
        if not tensor.is_floating_point():
            raise ValueError(f"{what} must be floating point, got {tensor.dtype}")
        if tensor.shape[0] == 0:
            raise ValueError(f"{what} holds no cloud")
        if torch.compiler.is_compiling() or tensor.device.type != "cpu" or tensor.requires_grad:
            continue
        if not (math.isfinite(tensor.sum().item()) or tensor.isfinite().all()):
            raise ValueError(f"{what} must be finite, but has NaN or infinity")
    return sizes


def find_scale(**clouds: Tensor) -> Tensor | None:
    """What clouds have to be divided by, so that squared distances are numbers; distances are multiplied by it again.

    Args:
        clouds: name -> (B, N, C), floating point.

    Returns:
        (B, 1, 1), powers of two; None if nothing has to be, or if these are no plain tensors, whose values are not
        looked at.
    """
    if not is_plain(*clouds.values()) or any(cloud.dtype not in SAFE_SIZES for cloud in clouds.values()):
        return None
    return find_scale_of(tuple(clouds), **clouds)


def check_count(function: str, name: str, count: int, most: int, what: str) -> None:
    """Holds a number against what there is.

    Args:
        function: name for the message.
        name: of the argument.
        count: its value, allowed 1..most.
        most: how many there are.
        what: the argument that has them.

    Raises:
        ValueError: it is no whole number, or out of range.
    """
    if not isinstance(count, numbers.Integral):
        raise ValueError(f"{function}: {name} is {count!r}, but must be a whole number")
    if not 1 <= count <= most:
        raise ValueError(f"{function}: {name} is {count}, but {what} has {most} points; it must lie in 1..{most}")


def check_index(function: str, name: str, index: Tensor, size: int) -> Tensor:
    """The index as int64.

    Args:
        function: name for the message.
        name: of the argument.
        index: of any integer type.
        size: how many there are to pick from.

    Raises:
        ValueError: it is not of an integer type, or (looked at on the CPU alone) not in 0..size-1.
    """
    if index.is_floating_point() or index.is_complex() or index.element_size() == 1:
        raise ValueError(f"{function}: {name} {tuple(index.shape)} must be int32 or int64, got {index.dtype}")
    check_range(function, name, index, size)
    return index.long()


def check_not_empty(function: str, **clouds: Tensor) -> None:
    """Holds clouds of shape (B, N, 3) against the need for a point.

    Raises:
        ValueError: one has none.
    """
    for name, cloud in clouds.items():
        if cloud.numel() == 0:
            raise ValueError(f"{function}: {name} is empty, its shape is {tuple(cloud.shape)}")
