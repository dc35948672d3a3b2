"""STL, binary and ASCII: triangles without colours."""

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.datasets.meshes.readers.binary import BinaryFile
from pointrecon.datasets.meshes.readers.files import Files

HEAD = 80  # bytes of any text before the number of triangles
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read_stl(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads a file of either kind; colours that some programs put into its attributes are not read.

    Args:
        data: The file.
        path: Of the file, for errors.
        files: Not used: an STL names no other file.

    Raises:
        MeshError: It is no proper mesh.
    """
    file = BinaryFile(data, path)
    if data[:5] == b"solid" and not _is_binary(data):  # binary files may begin with this word as well
        corners = _read_text(data, file)
    else:
        file.take(HEAD)
        corners = file.array(TRIANGLE, *file.unpack("I"))["corners"]
    return Mesh(corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3)).check(path)


def _is_binary(data: bytes) -> bool:
    """Says whether the file has the length that a binary file of its number of triangles has."""
    return len(data) == HEAD + 4 + TRIANGLE.itemsize * int.from_bytes(data[HEAD : HEAD + 4], "little")


def _read_text(data: bytes, file: BinaryFile) -> np.ndarray:
    """Reads the corners (n, 3, 3) of the facets of an ASCII file."""
    lines = [line.split() for line in data.decode("utf-8", "replace").lower().splitlines()]
    if not any(words[:1] == ["endsolid"] for words in lines):
        raise file.fail("has no line 'endsolid'", "truncated")
    corners, loop = [], []
    try:
        for words in lines:
            if words[:1] == ["vertex"]:
                x, y, z = words[1:]
                loop.append((float(x), float(y), float(z)))
            elif words[:1] == ["endloop"]:
                if len(loop) != 3:
                    raise file.fail(f"has a facet of {len(loop)} vertices")
                corners.append(loop)
                loop = []
    except ValueError as error:
        if isinstance(error, MeshError):
            raise
        raise file.fail(f"has a vertex that is none ({error})") from error
    if loop:
        raise file.fail("has vertices outside of its facets")
    return np.array(corners, np.float64).reshape(-1, 3, 3)
