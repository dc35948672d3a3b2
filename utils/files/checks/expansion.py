"""How large a value becomes if it is written out: what is short in a file can be endless for whoever walks through it.

A list that has one list ten times, which has one list ten times, and so on, is small in a pickle or in YAML with
aliases, and takes more than a lifetime to copy or to print.
"""

from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 64
_CONTAINERS = (list, tuple, set, frozenset, Mapping)


class ExpansionError(ValueError):
    """A value is too large or too deep if it is written out."""


def check_expansion(value: Any, limit: int, max_depth: int = MAX_DEPTH) -> None:
    """Refuses a value that would take more than `limit` bytes if nothing in it were shared.

    Args:
        value: Containers, numbers, texts, arrays, tensors.
        limit: In bytes; a number counts as 8.
        max_depth: Containers in containers.

    Raises:
        ExpansionError: It is larger, deeper, or contains itself.
    """
    if _measure(value, max_depth, {}, limit) > limit:
        raise ExpansionError(f"written out it would take more than {limit:,} bytes")


def _measure(value: Any, depth: int, known: dict[int, int], limit: int) -> int:
    is_of_objects = getattr(getattr(value, "dtype", None), "hasobject", False)
    if not isinstance(value, _CONTAINERS) and not is_of_objects:
        return _size(value)
    if id(value) in known:
        return known[id(value)]
    if depth == 0:
        raise ExpansionError("its containers are nested too deep, or one contains itself")
    items = value.ravel().tolist() if is_of_objects else value
    items = [*value.keys(), *value.values()] if isinstance(value, Mapping) else items
    total = 8
    for item in items:
        total += _measure(item, depth - 1, known, limit)
        if total > limit:
            raise ExpansionError(f"written out it would take more than {limit:,} bytes")
    known[id(value)] = total
    return total


def _size(value: Any) -> int:
    if isinstance(value, (str, bytes, bytearray)):
        return len(value) + 8
    if isinstance(value, int):
        return value.bit_length() // 8 + 8
    return int(getattr(value, "nbytes", 0)) + 8  # arrays and tensors
