"""PIE, the models of Warzone 2100, versions 2 to 4: text, y up."""

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, MeshError, merge
from pointrecon.datasets.meshes.readers.files import Files
from pointrecon.datasets.meshes.readers.textures import assemble, find_texture

HAS_TEXTURE_ANIMATION = 0x4000  # bit of a polygon's flags: four more numbers stand before the texture coordinates
TEXTURE_PIXELS = 256.0  # version 2 counts texture coordinates in these


def read_pie(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads all levels of a model as one mesh.

    Args:
        data: The file.
        path: Of the file, to find textures (in 'texpages') and for errors.
        files: Where these are.

    Raises:
        MeshError: It is no proper mesh.
    """
    words = data.decode("utf-8", "replace").split()
    try:
        return _read(words, path, files)
    except (ValueError, IndexError, OverflowError) as error:
        if isinstance(error, MeshError):
            raise
        raise MeshError(f"'{path}' is no PIE that can be read ({error}); leave it out") from error


def _read(words: list[str], path: str, files: Files | None) -> Mesh:
    if words[:1] != ["PIE"] or words[1] not in ("2", "3", "4"):
        raise MeshError(f"'{path}' is no PIE of version 2 to 4; leave it out", "unsupported")
    pixels = TEXTURE_PIXELS if words[1] == "2" else 1.0
    at, image, vertices = 2, None, np.zeros((0, 3))
    meshes = []
    while at < len(words):
        word, at = words[at], at + 1
        if word == "TEXTURE":
            image = find_texture(files, "texpages/", words[at + 1])
        elif word == "POINTS":
            count = _count(words, at, path)
            values = words[at + 1 : at + 1 + 3 * count]
            vertices = np.array(values, dtype=object).astype(np.float64).reshape(-1, 3)
            at += 1 + 3 * count
        elif word == "POLYGONS":
            mesh, at = _read_polygons(words, at, vertices, pixels, image, path)
            meshes += [mesh] if mesh is not None else []
    return merge(meshes).check(path)


def _count(words: list[str], at: int, path: str) -> int:
    count = int(words[at])
    if not 0 <= count <= len(words) - at:
        raise MeshError(f"'{path}' declares {count} elements, but ends before; leave it out", "truncated")
    return count


def _read_polygons(
    words: list[str], at: int, vertices: np.ndarray, pixels: float, image: np.ndarray | None, path: str
) -> tuple[Mesh | None, int]:
    counts, corners, uv = [], [], []
    num_polygons = _count(words, at, path)
    at += 1
    for _ in range(num_polygons):
        flags, size = int(words[at], 16), _count(words, at + 1, path)
        corners += words[at + 2 : at + 2 + size]
        at += 2 + size + (4 if flags & HAS_TEXTURE_ANIMATION else 0)
        uv += words[at : at + 2 * size]
        at += 2 * size
        counts.append(size)
    if not counts:
        return None, at
    table = np.array(uv, dtype=object).astype(np.float64).reshape(-1, 2) / pixels
    table[:, 1] = 1.0 - table[:, 1]
    indices = np.array([int(word) for word in corners], np.int64)
    texture_of = np.zeros(len(counts), np.int64)
    corner_uv = table if image is not None and len(table) == len(indices) else None
    return assemble(path, vertices, np.array(counts), indices, None, corner_uv, texture_of, [image]), at
