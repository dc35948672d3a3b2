"""What the drop-in packages share: their callers know other argument names, so mistakes are told in those."""

from torch import Tensor


def check_shapes(function: str, **arguments: tuple[Tensor, str]) -> dict[str, int]:
    """Holds the shapes of a call against what it needs.

    Args:
        function: name for the message.
        arguments: name -> (tensor, its axes). Axes are "B N 3": a number is that size; a letter any size, but the same
            wherever it occurs.

    Returns:
        The size of each letter.

    Raises:
        ValueError: an argument is no tensor, has another shape, or lies on another device than the first.
    """
    sizes: dict[str, int] = {}
    device = None
    for name, (tensor, axes) in arguments.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{function}: {name} must be a tensor, got {type(tensor).__name__}")
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


def check_count(function: str, name: str, count: int, most: int, what: str) -> None:
    """Holds a number against what there is.

    Args:
        function: name for the message.
        name: of the argument.
        count: its value, allowed 1..most.
        most: how many there are.
        what: the argument that has them.

    Raises:
        ValueError: it is out of range.
    """
    if not 1 <= count <= most:
        raise ValueError(f"{function}: {name} is {count}, but {what} has {most} points; it must lie in 1..{most}")


def check_index(function: str, name: str, index: Tensor) -> Tensor:
    """The index as int64.

    Args:
        function: name for the message.
        name: of the argument.
        index: of any integer type.

    Raises:
        ValueError: it is not of an integer type.
    """
    if index.is_floating_point() or index.is_complex() or index.element_size() == 1:
        raise ValueError(f"{function}: {name} must be int32 or int64, got {index.dtype}")
    return index.long()


def check_not_empty(function: str, **clouds: Tensor) -> None:
    """Holds clouds of shape (B, N, 3) against the need for a point.

    Raises:
        ValueError: one has none.
    """
    for name, cloud in clouds.items():
        if cloud.numel() == 0:
            raise ValueError(f"{function}: {name} is empty, its shape is {tuple(cloud.shape)}")
