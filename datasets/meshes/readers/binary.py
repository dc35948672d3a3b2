"""Binary files read with every count checked against the bytes that are there, before anything is allocated."""

import struct

import numpy as np

from pointrecon.datasets.meshes.mesh import MeshError


class BinaryFile:
    """The bytes of one file and a position in them; little-endian throughout.

    Args:
        data: The whole file.
        name: How to call it in an error.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.data = memoryview(data)
        self.name = name
        self.position = 0

    def __len__(self) -> int:
        return len(self.data)

    def fail(self, why: str, cause: str = "malformed") -> MeshError:
        """Makes the error for this file; the caller raises it."""
        return MeshError(f"'{self.name}' {why}; leave it out or fetch its package again", cause)

    def seek(self, position: int) -> None:
        """Goes to a byte of the file.

        Raises:
            MeshError: The file ends before it.
        """
        if not 0 <= position <= len(self.data):
            raise self.fail(f"points to byte {position}, but has {len(self.data)}", "truncated")
        self.position = position

    def take(self, num_bytes: int) -> memoryview:
        """Returns the next bytes.

        Raises:
            MeshError: There are not so many.
        """
        left = len(self.data) - self.position
        if not 0 <= num_bytes <= left:
            raise self.fail(f"declares {num_bytes} bytes where {left} are left", "truncated")
        start, self.position = self.position, self.position + num_bytes
        return self.data[start : self.position]

    def unpack(self, layout: str) -> tuple:
        """Returns the next values of a `struct` layout, given without byte order."""
        return struct.unpack(f"<{layout}", self.take(struct.calcsize(f"<{layout}")))

    def array(self, dtype: str | np.dtype, *shape: int) -> np.ndarray:
        """Returns the next values as an array; the size is checked first.

        Args:
            dtype: Such as '<f4', or a structured type.
            *shape: Of the array.
        """
        dtype = np.dtype(dtype)
        if min(shape) < 0:
            raise self.fail(f"declares {min(shape)} elements", "truncated")
        num_bytes = dtype.itemsize
        for size in shape:  # Python's integers do not overflow
            num_bytes *= int(size)
        return np.frombuffer(self.take(num_bytes), dtype).reshape(shape)

    def string(self, num_bytes: int) -> str:
        """Returns the text of a field of fixed length, up to its first zero byte."""
        return bytes(self.take(num_bytes)).split(b"\0", 1)[0].decode("utf-8", "replace")

    def string_at(self, start: int) -> str:
        """Returns the zero-terminated text at a byte of the file; the position stays."""
        end = bytes(self.data[start : start + 4096]).find(b"\0") if 0 <= start < len(self.data) else -1
        return bytes(self.data[start : start + max(end, 0)]).decode("utf-8", "replace")
