"""PMD, the models of 0 A.D., versions 3 and 4, in the pose they are stored in; bones are passed over."""

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh
from pointrecon.datasets.meshes.readers.binary import BinaryFile
from pointrecon.datasets.meshes.readers.files import Files
from pointrecon.datasets.meshes.readers.textures import assemble

FIXED = 11  # values of a vertex beside its texture coordinates: position, normal; four bones and their weights
UV = 6  # place of the first pair of texture coordinates among them


def read_pmd(data: bytes, path: str, files: Files | None = None, texture: np.ndarray | None = None) -> Mesh:
    """Reads a file as one mesh.

    Args:
        data: The file.
        path: Of the file, for errors.
        files: Not used: a PMD names no texture.
        texture: (h, w, 4) RGBA in 0..1, for the first texture coordinates. None: the mesh has no colours.

    Raises:
        MeshError: It is no proper mesh.
    """
    file = BinaryFile(data, path)
    magic, version, num_bytes = file.unpack("4sII")
    if magic != b"PSMD" or version not in (3, 4):
        raise file.fail(f"begins with {magic!r}, version {version}, and is no PMD of version 3 or 4", "unsupported")
    if num_bytes != len(file) - file.position:
        raise file.fail(f"declares {num_bytes} bytes where {len(file) - file.position} are left", "truncated")
    (num_vertices,) = file.unpack("I")
    num_uv = file.unpack("I")[0] if version == 4 else 1
    vertices = file.array("<f4", num_vertices, FIXED + 2 * num_uv)  # the four bones are a byte each
    (num_faces,) = file.unpack("I")
    faces = file.array("<u2", num_faces, 3).astype(np.int64)[:, ::-1]  # clockwise in the file
    _skip_skeleton(file)
    if not num_faces:
        raise file.fail("has no faces", "no faces")
    if faces.max() >= num_vertices:
        raise file.fail(f"has a face with vertex {faces.max()} of {num_vertices}", "face out of range")
    uv = vertices[:, UV : UV + 2][faces.ravel()] if num_uv and texture is not None else None
    texture_of = np.zeros(num_faces, np.int64)
    return assemble(path, vertices[:, :3], np.full(num_faces, 3), faces.ravel(), None, uv, texture_of, [texture])


def _skip_skeleton(file: BinaryFile) -> None:
    """Passes over bones and the places where other models are attached, which end the file."""
    (num_bones,) = file.unpack("I")
    file.array("<f4", num_bones, 7)
    (num_places,) = file.unpack("I")
    for _ in range(num_places):
        (length,) = file.unpack("I")
        file.take(length)
        file.unpack("7fB")
    if file.position != len(file):
        raise file.fail(f"goes on for {len(file) - file.position} bytes after its end")
