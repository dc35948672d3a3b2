"""Headers of objects in an HDF5 file: whether a data set is virtual, found out without opening it.

The library goes to the list of a virtual data set's sources as soon as it opens it, and a damaged list stalls it.
A header is a run of messages: in version 1 type (2 bytes), size (2), flags (1), unused (3), content; in version 2 type
(1), size (2), flags (1), sometimes a number (2), content. A message may say that the header goes on elsewhere.
"""

import mmap
from collections.abc import Iterator

LAYOUT, CONTINUATION = 0x08, 0x10  # types of messages
VIRTUAL = 3  # class of a layout
MAX_MESSAGES = 10_000
_PREFIX = 16  # bytes of a header of version 1 before its messages


def is_virtual(data: bytes | mmap.mmap, address: int, base: int = 0) -> bool:
    """Whether the header at an address is that of a virtual data set; False for what is no header.

    Args:
        data: The file.
        address: Of the header, counted from `base`.
        base: Where addresses of the file are counted from, in bytes from its start.
    """
    for kind, content in _messages(data, address + base, base):
        if kind == LAYOUT and len(content) >= 2 and content[0] >= 4 and content[1] == VIRTUAL:
            return True
    return False


def _messages(data: bytes | mmap.mmap, address: int, base: int) -> Iterator[tuple[int, bytes]]:
    """Yields type and first bytes of each message."""
    is_new = data[address : address + 4] == b"OHDR"
    flags = data[address + 5] if is_new and address + 5 < len(data) else 0
    if is_new:
        place = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        blocks = [(place + width, int.from_bytes(data[place : place + width], "little"))]
    else:
        blocks = [(address + _PREFIX, int.from_bytes(data[address + 8 : address + 12], "little"))]
    start = (4 + (2 if flags & 4 else 0)) if is_new else 8
    count = 0
    while blocks:
        place, size = blocks.pop()
        end = min(place + size, len(data))
        while place + start <= end and count < MAX_MESSAGES:
            count += 1
            kind = data[place] if is_new else int.from_bytes(data[place : place + 2], "little")
            offset = place + 1 if is_new else place + 2
            length = int.from_bytes(data[offset : offset + 2], "little")
            content = bytes(data[place + start : min(place + start + length, end, place + start + 16)])
            if kind == CONTINUATION and len(content) == 16:
                where, room = int.from_bytes(content[:8], "little") + base, int.from_bytes(content[8:], "little")
                blocks.append((where + 4, room - 4) if is_new else (where, room))  # OCHK comes first
            yield kind, content
            place += start + length
