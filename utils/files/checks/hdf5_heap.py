"""The heaps of an HDF5 file, where it keeps texts; a damaged one makes the HDF5 library loop for ever.

A heap is `GCOL`, a version, 3 unused bytes and its size in 8 bytes; then objects: number (2 bytes, 0: free space),
references (2), unused (4), size (8), content up to a multiple of 8 bytes. The library steps from object to object by
what they say of their sizes, even if that is nothing.
"""

import mmap
from collections.abc import Iterable

SIGNATURE = b"GCOL\x01\0\0\0"
_HEADER = 16  # bytes, of a heap and of an object in it


class HeapError(ValueError):
    """A heap is damaged."""


def check_heaps(data: bytes | mmap.mmap, places: Iterable[tuple[int, int]]) -> set[int]:
    """Finds the heaps in a file and goes through them as the library does.

    Args:
        data: The file.
        places: From where to where to look, in bytes.

    Returns:
        Where the heaps begin.

    Raises:
        HeapError: One of them is damaged.
    """
    found = set()
    for start, stop in places:
        place = data.find(SIGNATURE, start, stop)
        while place >= 0:
            _check_heap(data, place)
            found.add(place)
            place = data.find(SIGNATURE, place + len(SIGNATURE), stop)
    return found


def _check_heap(data: bytes | mmap.mmap, start: int) -> None:
    place = start + _HEADER
    end = start + int.from_bytes(data[start + 8 : place], "little")
    if end > len(data) or end < place:
        raise HeapError(f"the texts at byte {start:,} claim to end at byte {end:,}")
    while place + _HEADER <= end:
        number = data[place] | data[place + 1] << 8
        size = int.from_bytes(data[place + 8 : place + _HEADER], "little")
        step = _HEADER + (size + 7) // 8 * 8 if number else size
        if not step or step > end - place:
            raise HeapError(f"a text at byte {place:,} claims {size:,} bytes")
        place += step
