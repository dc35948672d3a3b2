"""A safetensors file of objects, whose arrays are views of mapped memory; its header is checked before it is read.

Shape legend: n objects of a file, P points of all of them, T texts of all of them, V = 13 views, E feature width.
"""

import math
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.json_text import JsonError, parse_json

MAX_HEADER = 64 << 20  # bytes
REMEDY = "convert again (scripts/convert_openshape.py), which makes only what lacks"
# What the format calls a type -> NumPy's name, and the arrays of a file with their types; None: any length.
_DTYPES = {"F16": "<f2", "U8": "|u1", "BOOL": "|b1", "I64": "<i8", "I32": "<i4", "F32": "<f4"}
ARRAYS: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "points": ("F16", (None, 3)),
    "colors": ("U8", (None, 3)),
    "point_offsets": ("I64", (None,)),
    "has_colors": ("BOOL", (None,)),
    "views": ("F16", (None, 13, None)),
    "view_mask": ("BOOL", (None, 13)),
    "text_features": ("F16", (None, None)),
    "text_kinds": ("U8", (None,)),
    "text_offsets": ("I64", (None,)),
    "text_bytes": ("U8", (None,)),
    "text_ends": ("I64", (None,)),
}


@dataclass(frozen=True)
class Place:
    """Where an array lies in a file: its type, its shape, and the bytes in front of it."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class Layout:
    """A file whose header was checked.

    Attributes:
        path: The file.
        places: Its arrays by name.
        notes: The texts that its header has beside them.
    """

    path: Path
    places: dict[str, Place]
    notes: dict[str, str]

    def read(self, name: str) -> np.ndarray:
        """A copy of a small array."""
        place = self.places[name]
        values = np.fromfile(self.path, place.dtype, math.prod(place.shape), offset=place.offset)
        return values.reshape(place.shape)

    def map(self) -> dict[str, np.ndarray]:
        """All arrays as views of mapped memory; what is written into them stays in this process."""
        with self.path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return {
            name: np.ndarray(place.shape, place.dtype, mapped, place.offset)
            for name, place in self.places.items()
            if math.prod(place.shape)
        }


def read_layout(path: Path, wanted: dict[str, tuple[str, tuple[int | None, ...]]], notes: tuple[str, ...]) -> Layout:
    """Reads and checks the header of a file.

    Args:
        path: The file.
        wanted: The arrays that it must have, with their types and shapes.
        notes: The texts that its header must have.

    Raises:
        InputError: It is not such a file, or is damaged.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, MAX_HEADER):
                raise ValueError(f"its header claims {length:,} bytes")
            header = parse_json(file.read(length))
        found = header.pop("__metadata__", {})
        if any(not isinstance(found.get(name), str) for name in notes):
            raise ValueError(f"its header lacks {' or '.join(notes)}")
        places = {name: _place(header, name, *wanted[name], 8 + length, size) for name in wanted}
    except (OSError, JsonError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"'{path}' is damaged ({error}); {REMEDY}") from error
    return Layout(path, places, {name: found[name] for name in notes})


def _place(header: dict[str, Any], name: str, kind: str, shape: tuple[int | None, ...], start: int, size: int) -> Place:
    entry = header[name]
    dtype, lengths, (begin, end) = np.dtype(_DTYPES[kind]), tuple(entry["shape"]), entry["data_offsets"]
    fits = len(lengths) == len(shape) and all(type(x) is int and x >= 0 for x in (*lengths, begin, end))
    fits = fits and all(want in (None, have) for want, have in zip(shape, lengths, strict=True))
    if entry["dtype"] != kind or not fits:
        raise ValueError(f"'{name}' is {entry['dtype']} of shape {list(lengths)}")
    is_inside = begin <= end <= size - start and math.prod(lengths) * dtype.itemsize == end - begin
    if not is_inside or (start + begin) % dtype.itemsize:
        raise ValueError(f"'{name}' does not lie in the file as its shape {list(lengths)} says")
    return Place(dtype, lengths, start + begin)
