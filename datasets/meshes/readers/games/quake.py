"""The models of the Quake family of games: MD2, MD3 and IQM; of an animation the first frame. All have z up."""

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, merge
from pointrecon.datasets.meshes.readers.binary import BinaryFile
from pointrecon.datasets.meshes.readers.files import Files
from pointrecon.datasets.meshes.readers.textures import assemble, find_texture

IQM_POSITION, IQM_TEXCOORD, IQM_FLOAT = 0, 1, 7
MD3_SCALE = 1.0 / 64.0


def read_md2(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads an MD2 file (Quake 2, UFO: Alien Invasion).

    Args:
        data: The file.
        path: Of the file, to find textures and for errors.
        files: Where these are.

    Raises:
        MeshError: It is no proper mesh.
    """
    file = BinaryFile(data, path)
    magic, version, width, height, _, num_skins, num_vertices, num_uv, num_faces, _, num_frames = file.unpack("4s10i")
    if magic != b"IDP2" or version != 8:
        raise file.fail("is no MD2 of version 8", "unsupported")
    skins_at, uv_at, faces_at, frames_at = file.unpack("4i")
    if num_frames < 1:
        raise file.fail("has no frame", "no faces")
    file.seek(frames_at)
    scale, offset = file.array("<f4", 3), file.array("<f4", 3)
    file.take(16)  # the frame's name
    with np.errstate(invalid="ignore", over="ignore"):  # what is no number is refused at the end
        vertices = file.array("u1", num_vertices, 4)[:, :3] * scale.astype(np.float64) + offset
    file.seek(faces_at)
    faces = file.array("<u2", num_faces, 2, 3).astype(np.int64)
    texture, uv = None, None
    if num_skins > 0 and width > 0 and height > 0:
        file.seek(skins_at)
        texture = _find_skin(files, path, [file.string(64) for _ in range(min(num_skins, 4))])
    if texture is not None:
        file.seek(uv_at)
        table = file.array("<i2", num_uv, 2) / np.array([width, height])
        if len(faces) and faces[:, 1].max() >= num_uv:
            raise file.fail("has a face with a texture coordinate that is not there", "face out of range")
        uv = _flip(table)[faces[:, 1].ravel()]
    return _triangles(path, vertices, faces[:, 0], uv, texture)


def read_md3(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads an MD3 file (Quake 3, OpenArena); arguments and errors as in `read_md2`."""
    file = BinaryFile(data, path)
    magic, version = file.unpack("4si")
    if magic != b"IDP3" or version != 15:
        raise file.fail("is no MD3 of version 15", "unsupported")
    file.take(68)  # name and flags
    _, _, num_surfaces, _, _, _, start, _ = file.unpack("8i")
    meshes = []
    if num_surfaces > len(file):
        raise file.fail(f"declares {num_surfaces} surfaces", "truncated")
    for _ in range(num_surfaces):
        file.seek(start)
        file.take(72)
        num_frames, num_shaders, num_vertices, num_faces = file.unpack("4i")
        faces_at, shaders_at, uv_at, vertices_at, end = file.unpack("5i")
        file.seek(start + vertices_at)
        vertices = file.array("<i2", num_vertices, 4)[:, :3] * MD3_SCALE
        file.seek(start + faces_at)
        faces = file.array("<i4", num_faces, 3).astype(np.int64)
        file.seek(start + uv_at)
        uv = _flip(file.array("<f4", num_vertices, 2))
        texture = None
        if num_shaders > 0:
            file.seek(start + shaders_at)
            texture = _find_skin(files, path, [file.string(64)])
        if end <= 0:
            raise file.fail("has a surface without end")
        start += end
        if num_faces:
            _check(file, faces, num_vertices)
            meshes.append(_triangles(path, vertices, faces, uv[faces.ravel()], texture))
    return merge(meshes).check(path)


def read_iqm(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads an IQM file in its bind pose, as `read_md2` does; files of mere animations have no faces."""
    file = BinaryFile(data, path)
    magic, version = file.unpack("16sI")
    if magic != b"INTERQUAKEMODEL\0" or version != 2:
        raise file.fail("is no IQM of version 2", "unsupported")
    _, _, _, text_at, num_meshes, meshes_at, num_arrays, num_vertices, arrays_at, num_faces, faces_at = file.unpack(
        "11I"
    )
    if not num_faces or not num_vertices:
        raise file.fail("has no faces", "no faces")
    file.seek(arrays_at)
    places = {kind: (form, size, at) for kind, _, form, size, at in file.array("<u4", num_arrays, 5).tolist()}
    vertices = _iqm_array(file, places, IQM_POSITION, num_vertices, 3)
    uv = _iqm_array(file, places, IQM_TEXCOORD, num_vertices, 2)
    if vertices is None:
        raise file.fail("has no positions", "no faces")
    file.seek(faces_at)
    faces = file.array("<u4", num_faces, 3).astype(np.int64)[:, ::-1]  # clockwise in the file
    _check(file, faces, num_vertices)
    file.seek(meshes_at)
    meshes = []
    for _, material, _, _, first, count in file.array("<u4", num_meshes, 6).tolist():
        texture = _find_skin(files, path, [file.string_at(text_at + material)])
        part = faces[first : first + count]
        corner_uv = None if uv is None else _flip(uv)[part.ravel()]
        if len(part):
            meshes.append(_triangles(path, vertices, part, corner_uv, texture))
    return merge(meshes).check(path)


def _iqm_array(file: BinaryFile, places: dict, kind: int, num_vertices: int, width: int) -> np.ndarray | None:
    form, size, at = places.get(kind, (None, None, None))
    if (form, size) != (IQM_FLOAT, width):
        return None
    file.seek(at)
    return file.array("<f4", num_vertices, width)


def _check(file: BinaryFile, faces: np.ndarray, num_vertices: int) -> None:
    if len(faces) and (faces.min() < 0 or faces.max() >= num_vertices):
        raise file.fail(f"has a face with a vertex that is not among its {num_vertices}", "face out of range")


def _flip(uv: np.ndarray) -> np.ndarray:
    """Turns v up."""
    return np.stack([uv[:, 0], 1.0 - uv[:, 1]], 1)


def _find_skin(files: Files | None, path: str, names: list[str]) -> np.ndarray | None:
    """Loads the first texture there is; a name with '.' in front stands beside the model, others below the root."""
    for name in names:
        found = find_texture(files, path, name.lstrip(".")) if name.startswith(".") else None
        found = found if found is not None else find_texture(files, "", name)
        found = found if found is not None else find_texture(files, path, name)
        if found is not None:
            return found
    return None


def _triangles(
    path: str, vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray | None, texture: np.ndarray | None
) -> Mesh:
    count = len(faces)
    uv = uv if texture is not None else None
    return assemble(path, vertices, np.full(count, 3), faces.ravel(), None, uv, np.zeros(count, np.int64), [texture])
