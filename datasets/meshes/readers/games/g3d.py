"""G3D, the models of Glest and MegaGlest, versions 3 and 4; of an animation the first frame."""

from collections.abc import Sequence

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, merge
from pointrecon.datasets.meshes.readers.binary import BinaryFile
from pointrecon.datasets.meshes.readers.files import Files
from pointrecon.datasets.meshes.readers.textures import assemble, find_texture

NUM_TEXTURES = 5  # bits of the header's field that stand for a file name each


def read_g3d(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads all meshes of a file as one.

    Args:
        data: The file.
        path: Of the file, to find textures and for errors.
        files: Where these are.

    Raises:
        MeshError: It is no proper mesh.
    """
    file = BinaryFile(data, path)
    magic, version = file.unpack("3sB")
    if magic != b"G3D" or version not in (3, 4):
        raise file.fail(f"begins with {magic + bytes([version])!r} and is no G3D of version 3 or 4", "unsupported")
    num_meshes = file.unpack("HB")[0] if version == 4 else file.unpack("I")[0]
    read = _read_mesh_4 if version == 4 else _read_mesh_3
    if num_meshes > len(file):
        raise file.fail(f"declares {num_meshes} meshes", "truncated")
    return merge(mesh for _ in range(num_meshes) if (mesh := read(file, files)) is not None).check(path)


def _read_mesh_4(file: BinaryFile, files: Files | None) -> Mesh | None:
    file.take(64)  # its name
    num_frames, num_vertices, num_indices = file.unpack("3I")
    color = file.unpack("3f")
    file.unpack("5fI")  # specular colour and power, opacity; properties
    (textures,) = file.unpack("I")
    names = [file.string(64) for bit in range(NUM_TEXTURES) if textures >> bit & 1]
    vertices = file.array("<f4", num_frames, num_vertices, 3)
    file.array("<f4", num_frames, num_vertices, 3)  # normals
    uv = file.array("<f4", num_vertices, 2) if textures else None
    indices = file.array("<u4", num_indices)
    if not num_frames:
        return None
    return _assemble(file, files, vertices[0], indices, color, uv, names[0] if textures & 1 else "")


def _read_mesh_3(file: BinaryFile, files: Files | None) -> Mesh | None:
    num_frames, num_normal_frames, num_uv_frames, num_color_frames, num_vertices, num_indices, flags = file.unpack("7I")
    texture = file.string(64)
    has_no_texture = bool(flags & 1)
    vertices = file.array("<f4", num_frames, num_vertices, 3)
    file.array("<f4", num_normal_frames, num_vertices, 3)
    uv = None if has_no_texture else file.array("<f4", num_uv_frames, num_vertices, 2)
    colors = file.array("<f4", num_color_frames, 4)
    indices = file.array("<u4", num_indices)
    if not num_frames:
        return None
    color = colors[0, :3] if len(colors) else (0.7, 0.7, 0.7)
    uv = uv[0] if uv is not None and len(uv) else None
    return _assemble(file, files, vertices[0], indices, color, uv, texture)


def _assemble(
    file: BinaryFile,
    files: Files | None,
    vertices: np.ndarray,
    indices: np.ndarray,
    color: Sequence[float] | np.ndarray,
    uv: np.ndarray | None,
    texture: str,
) -> Mesh | None:
    """Makes one mesh of triangles that share a material."""
    num_faces = len(indices) // 3
    if not num_faces:
        return None
    corners = indices[: 3 * num_faces].astype(np.int64)
    if corners.max() >= len(vertices):
        raise file.fail(f"has a face with vertex {corners.max()} of {len(vertices)}", "face out of range")
    image = find_texture(files, file.name, texture) if uv is not None else None
    return assemble(
        file.name,
        vertices,
        np.full(num_faces, 3),
        corners,
        np.tile(np.asarray(color[:3], np.float32), (num_faces, 1)),
        None if image is None or uv is None else uv[corners],
        np.zeros(num_faces, np.int64),
        [image],
    )
