"""MOD, the models of Colobot: loose triangles, each with its material and its level of detail."""

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh
from pointrecon.datasets.meshes.readers.binary import BinaryFile
from pointrecon.datasets.meshes.readers.files import Files
from pointrecon.datasets.meshes.readers.textures import assemble, find_texture

VERSION = (1, 2)
VERTEX = [("position", "<f4", 3), ("normal", "<f4", 3), ("uv", "<f4", 2), ("uv2", "<f4", 2)]
TRIANGLE = np.dtype(
    [
        ("flags", "<u4"),
        ("corners", VERTEX, 3),
        ("diffuse", "<f4", 4),
        ("material", "<f4", 13),  # ambient, specular, emissive, power
        ("texture", "S20"),
        ("nearest", "<f4"),  # it is drawn from here
        ("farthest", "<f4"),  # to here
        ("state", "<u4"),
        ("reserved", "<u2", 4),
    ]
)
GREY = 0.7


def read_mod(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads the triangles that are seen from close by; the others are simpler stand-ins of the same.

    Args:
        data: The file.
        path: Of the file, to find textures and for errors.
        files: Where these are.

    Raises:
        MeshError: It is no proper mesh.
    """
    file = BinaryFile(data, path)
    version, num_triangles = file.unpack("2i"), file.unpack("i")[0]
    if version != VERSION:
        raise file.fail(f"is of version {version} and no MOD of version {VERSION}", "unsupported")
    file.take(40)  # reserved
    triangles = file.array(TRIANGLE, num_triangles)
    triangles = triangles[triangles["nearest"] == 0]
    if not len(triangles):
        raise file.fail("has no triangles that are seen from close by", "no faces")
    names, texture_of = np.unique(triangles["texture"], return_inverse=True)
    textures = [find_texture(files, path, _text(name)) for name in names]
    # A material under a texture is white, which says nothing where the texture is missing.
    has_texture = np.array([bool(_text(name)) for name in names])[texture_of]
    colors = np.where(has_texture[:, None], np.float32(GREY), np.nan_to_num(triangles["diffuse"][:, :3]))
    if has_texture.all() and not any(texture is not None for texture in textures):
        colors = None
    corners = triangles["corners"]
    # v points down in the file.
    uv = corners["uv"].reshape(-1, 2) * np.array([1, -1], np.float32) + np.array([0, 1], np.float32)
    # The axes of the game are left-handed: mirrored, the triangles turn over and face outwards.
    positions = corners["position"].reshape(-1, 3) * np.array([1, 1, -1], np.float32)
    counts = np.full(len(triangles), 3)
    return assemble(path, positions, counts, np.arange(len(positions)), colors, uv, texture_of, textures)


def _text(name: bytes) -> str:
    return name.split(b"\0", 1)[0].decode("utf-8", "replace")
