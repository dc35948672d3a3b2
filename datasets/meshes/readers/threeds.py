"""3D Studio (.3ds): a tree of chunks. Vertices are in the coordinates of the scene, z up."""

from collections.abc import Iterator

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, merge
from pointrecon.datasets.meshes.readers.binary import BinaryFile
from pointrecon.datasets.meshes.readers.files import Files
from pointrecon.datasets.meshes.readers.textures import assemble, find_texture

MAIN, EDITOR, OBJECT, TRIANGLES = 0x4D4D, 0x3D3D, 0x4000, 0x4100
VERTICES, FACES, FACE_MATERIAL, TEXCOORDS = 0x4110, 0x4120, 0x4130, 0x4140
MATERIAL, NAME, DIFFUSE, TEXTURE, TEXTURE_FILE = 0xAFFF, 0xA000, 0xA020, 0xA200, 0xA300
RGB_FLOAT, RGB_BYTE = 0x0010, 0x0011


def read_3ds(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads all objects of a file as one mesh.

    Args:
        data: The file.
        path: Of the file, to find textures and for errors.
        files: Where these are.

    Raises:
        MeshError: It is no proper mesh.
    """
    file = BinaryFile(data, path)
    if len(data) < 6 or file.unpack("H")[0] != MAIN:
        raise file.fail("is no 3DS file", "unsupported")
    file.seek(0)
    materials: dict[str, tuple[tuple[float, ...], str]] = {}
    objects: list[dict] = []
    _walk(file, len(data), materials, objects)
    meshes = [mesh for part in objects if (mesh := _make(part, materials, file, files)) is not None]
    return merge(meshes).check(path)


def _chunks(file: BinaryFile, end: int) -> Iterator[tuple[int, int]]:
    """Yields (id, end) of the chunks up to `end`, with the position at the first byte inside each."""
    while end - file.position >= 6:
        start = file.position
        kind, length = file.unpack("HI")
        stop = start + length
        if length < 6 or stop > end:
            raise file.fail("has a chunk that ends after the one around it", "truncated")
        yield kind, stop
        file.seek(stop)


def _walk(file: BinaryFile, end: int, materials: dict, objects: list[dict]) -> None:
    for main, main_end in _chunks(file, end):
        for editor, editor_end in _chunks(file, main_end) if main == MAIN else ():
            for kind, stop in _chunks(file, editor_end) if editor == EDITOR else ():
                if kind == MATERIAL:
                    name, color, texture = _read_material(file, stop)
                    materials[name] = (color, texture)
                elif kind == OBJECT:
                    _read_name(file, stop)
                    for part, part_end in _chunks(file, stop):
                        if part == TRIANGLES:
                            objects.append(_read_object(file, part_end))


def _read_name(file: BinaryFile, end: int) -> str:
    name = file.string_at(file.position)
    raw = bytes(file.data[file.position : end])
    file.seek(file.position + (raw.find(b"\0") + 1 if b"\0" in raw else len(raw)))
    return name


def _read_material(file: BinaryFile, end: int) -> tuple[str, tuple[float, ...], str]:
    name, color, texture = "", (0.7, 0.7, 0.7), ""
    for kind, stop in _chunks(file, end):
        if kind == NAME:
            name = _read_name(file, stop)
        elif kind == DIFFUSE:
            for form, _ in _chunks(file, stop):
                if form == RGB_BYTE:
                    color = tuple(value / 255 for value in file.unpack("3B"))
                elif form == RGB_FLOAT:
                    color = file.unpack("3f")
        elif kind == TEXTURE:
            for form, inner in _chunks(file, stop):
                texture = _read_name(file, inner) if form == TEXTURE_FILE else texture
    return name, color, texture


def _read_object(file: BinaryFile, end: int) -> dict:
    part: dict = {"materials": []}
    for kind, stop in _chunks(file, end):
        if kind in (VERTICES, TEXCOORDS):
            (count,) = file.unpack("H")
            part[kind] = file.array("<f4", count, 3 if kind == VERTICES else 2)
        elif kind == FACES:
            (count,) = file.unpack("H")
            part[FACES] = file.array("<u2", count, 4)[:, :3].astype(np.int64)
            for inner, inner_end in _chunks(file, stop):
                if inner == FACE_MATERIAL:
                    name = _read_name(file, inner_end)
                    (count,) = file.unpack("H")
                    part["materials"].append((name, file.array("<u2", count).astype(np.int64)))
    return part


def _make(part: dict, materials: dict, file: BinaryFile, files: Files | None) -> Mesh | None:
    vertices, faces, uv = part.get(VERTICES), part.get(FACES), part.get(TEXCOORDS)
    if vertices is None or faces is None or not len(faces):
        return None
    if faces.max() >= len(vertices):
        raise file.fail(f"has a face with vertex {faces.max()} of {len(vertices)}", "face out of range")
    colors = np.full((len(faces), 3), 0.7)
    texture_of = np.full(len(faces), -1)
    images: list[np.ndarray | None] = []
    for name, rows in part["materials"]:
        color, texture = materials.get(name, ((0.7, 0.7, 0.7), ""))
        rows = rows[rows < len(faces)]
        colors[rows] = color
        texture_of[rows] = len(images)
        images.append(find_texture(files, file.name, texture))
    corners = faces.ravel()
    uv = uv[corners] if uv is not None and len(uv) == len(vertices) else None
    return assemble(file.name, vertices, np.full(len(faces), 3), corners, colors, uv, texture_of, images)
