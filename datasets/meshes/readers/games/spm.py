"""SPM, the models of SuperTuxKart; animated ones as they are stored, without their bones."""

from typing import Any

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, merge
from pointrecon.datasets.meshes.readers.binary import BinaryFile
from pointrecon.datasets.meshes.readers.files import Files
from pointrecon.datasets.meshes.readers.textures import assemble, find_texture

ANIMATED = 1  # type in the header; 0 is partitioned in space, 2 neither
WHITE = 128  # a vertex colour that begins with this byte has no further ones


def read_spm(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads all buffers of a file as one mesh.

    Args:
        data: The file.
        path: Of the file, to find textures and for errors.
        files: Where these are.

    Raises:
        MeshError: It is no proper mesh.
    """
    file = BinaryFile(data, path)
    magic, kind, flags = file.unpack("2sBB")
    if magic != b"SP" or kind >> 3 != 1:
        raise file.fail("is no SPM of version 1", "unsupported")
    file.unpack("6f")  # bounding box
    (num_materials,) = file.unpack("H")
    materials = [(_read_name(file), _read_name(file)) for _ in range(num_materials)]
    textures = [find_texture(files, path, first) for first, _ in materials]
    meshes = []
    (num_sectors,) = file.unpack("H")
    for _ in range(num_sectors):
        (num_buffers,) = file.unpack("H")
        for _ in range(num_buffers):
            num_vertices, num_indices, material = file.unpack("IIH")
            if material >= num_materials:
                raise file.fail(f"names material {material} of {num_materials}")
            vertices, colors, uv = _read_vertices(file, num_vertices, flags, materials[material], kind & 7 == ANIMATED)
            corners = file.array("<u2" if num_vertices > 255 else "u1", num_indices).astype(np.int64)
            corners = corners[: len(corners) // 3 * 3]
            if len(corners) and corners.max() >= num_vertices:
                raise file.fail(f"has a face with vertex {corners.max()} of {num_vertices}", "face out of range")
            num_faces = len(corners) // 3
            face_colors = colors[corners].reshape(-1, 3, 3).mean(1)
            image = None if uv is None else textures[material]
            if num_faces:
                counts, texture_of = np.full(num_faces, 3), np.zeros(num_faces, np.int64)
                corner_uv = None if image is None or uv is None else uv[corners]
                meshes.append(assemble(path, vertices, counts, corners, face_colors, corner_uv, texture_of, [image]))
    return merge(meshes).check(path)


def _read_name(file: BinaryFile) -> str:
    (length,) = file.unpack("B")
    return file.string(length)


def _read_vertices(
    file: BinaryFile, num_vertices: int, flags: int, names: tuple[str, str], is_skinned: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Reads positions (n, 3), colours (n, 3) and texture coordinates (n, 2) or None, v up."""
    has_normal, has_color, has_tangent = flags & 1, flags & 2, flags & 4
    head: list[Any] = [("position", "<f4", 3)] + ([("normal", "<u4")] if has_normal else [])
    tail: list[Any] = []
    if names[0]:
        tail += [("uv", "<f2", 2)] + ([("uv2", "<f2", 2)] if names[1] else [])
        tail += [("tangent", "<u4")] if has_tangent else []
    if is_skinned:
        tail += [("joints", "<i2", 4), ("weights", "<f2", 4)]
    if has_color:
        rows, colors = _read_coloured(file, num_vertices, np.dtype(head).itemsize, np.dtype(tail).itemsize)
        values = np.frombuffer(rows, np.dtype(head + tail))
    else:
        values = file.array(np.dtype(head + tail), num_vertices)
        colors = np.ones((num_vertices, 3), np.float32)
    uv = None
    if names[0]:
        uv = values["uv"].astype(np.float32)
        uv[:, 1] = 1.0 - uv[:, 1]
    return values["position"].astype(np.float64), colors, uv


def _read_coloured(file: BinaryFile, num_vertices: int, head: int, tail: int) -> tuple[bytes, np.ndarray]:
    """Reads vertices that have a colour of one or four bytes between `head` and `tail` bytes."""
    if num_vertices * (head + 1 + tail) > len(file) - file.position:
        raise file.fail(f"declares {num_vertices} vertices", "truncated")
    rows, colors = [], np.ones((num_vertices, 3), np.float32)
    for row in range(num_vertices):
        rows.append(file.take(head))
        if file.take(1)[0] != WHITE:
            colors[row] = np.frombuffer(file.take(3), np.uint8) / np.float32(255)
        rows.append(file.take(tail))
    return b"".join(rows), colors
