"""Wavefront OBJ with its material files."""

import posixpath

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.datasets.meshes.readers.files import Files, beside
from pointrecon.datasets.meshes.readers.textures import assemble, find_texture


def read_obj(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads the faces of an OBJ file; lines, points, curves and normals are left out.

    Args:
        data: The file.
        path: Of the file, to find materials and for errors.
        files: Where these are.

    Raises:
        MeshError: It is no proper mesh.
    """
    lines = data.decode("utf-8", "replace").replace("\\\r\n", " ").replace("\\\n", " ").splitlines()
    rows = _Rows()
    try:
        for line in lines:
            rows.add(line)
        return rows.mesh(path, files)
    except (ValueError, OverflowError, IndexError) as error:
        if isinstance(error, MeshError):
            raise
        raise MeshError(f"'{path}' has a line that is no OBJ ({error}); leave it out") from error


class _Rows:
    """What the lines of one file add up to."""

    def __init__(self) -> None:
        self.vertices: list[list[str]] = []
        self.uv: list[list[str]] = []
        self.counts: list[int] = []
        self.corners: list[int] = []
        self.uv_corners: list[int] = []
        self.material_of: list[int] = []
        self.libraries: list[str] = []
        self.materials: dict[str, int] = {}
        self.material = -1

    def add(self, line: str) -> None:
        words = line.split()
        if not words:
            return
        key = words[0]
        if key == "v":
            self.vertices.append(words[1:4])
        elif key == "vt":
            self.uv.append(words[1:3])
        elif key == "f" or key == "fo":
            self.add_face(words[1:])
        elif key == "usemtl":
            self.material = (
                self.materials.setdefault(line.split(None, 1)[1].strip(), len(self.materials)) if words[1:] else -1
            )
        elif key == "mtllib":
            self.libraries.append(line.split(None, 1)[1].strip() if words[1:] else "")

    def add_face(self, words: list[str]) -> None:
        num_vertices, num_uv = len(self.vertices), len(self.uv)
        for word in words:
            parts = word.split("/")
            index = int(parts[0])
            self.corners.append(index - 1 if index > 0 else num_vertices + index)
            index = int(parts[1]) if len(parts) > 1 and parts[1] else 0
            self.uv_corners.append(index - 1 if index > 0 else num_uv + index if index else -1)
        self.counts.append(len(words))
        self.material_of.append(self.material)

    def mesh(self, path: str, files: Files | None) -> Mesh:
        vertices = np.array(self.vertices, dtype=object).astype(np.float64).reshape(-1, 3)
        table = _read_materials(path, self.libraries, files)
        chosen = [table.get(name, ((0.7, 0.7, 0.7), "")) for name in self.materials]
        colors = uv = None
        textures = []
        material_of = np.array(self.material_of, np.int64)
        if table:
            colors = np.array([color for color, _ in chosen] + [(0.7, 0.7, 0.7)])[material_of]
            textures = [find_texture(files, path, texture) for _, texture in chosen]
        if self.uv and any(texture is not None for texture in textures):
            rows = [pair if len(pair) == 2 else [*pair, 0, 0][:2] for pair in self.uv]
            table_uv = np.concatenate([np.array(rows, dtype=object).astype(np.float64), [[0.0, 0.0]]])
            uv_corners = np.array(self.uv_corners, np.int64)
            uv = table_uv[np.where((uv_corners >= 0) & (uv_corners < len(self.uv)), uv_corners, len(self.uv))]
        return assemble(
            path,
            vertices,
            np.array(self.counts, np.int64),
            np.array(self.corners, np.int64),
            colors,
            uv,
            material_of,
            textures,
        )


def _read_materials(
    path: str, libraries: list[str], files: Files | None
) -> dict[str, tuple[tuple[float, float, float], str]]:
    """Reads material files: name -> diffuse RGB and texture file name, '' for none; what is missing is left out."""
    table: dict[str, tuple[tuple[float, float, float], str]] = {}
    if files is None:
        return table
    name = None
    for library in libraries:
        data = None
        for candidate in (library, *library.split(), posixpath.basename(library.replace("\\", "/"))):
            data = data or files.read(beside(path, candidate))
        for line in (data or b"").decode("utf-8", "replace").splitlines():
            words = line.split()
            if len(words) < 2:
                continue
            if words[0] == "newmtl":
                name = line.split(None, 1)[1].strip()
                table[name] = ((0.7, 0.7, 0.7), "")
            elif name is not None and words[0] == "Kd" and len(words) >= 4:
                try:
                    red, green, blue = (float(word) for word in words[1:4])
                    table[name] = ((red, green, blue), table[name][1])
                except ValueError:
                    continue
            elif name is not None and words[0].lower() == "map_kd":
                table[name] = (table[name][0], line.split(None, 1)[1].strip() if "-" not in words[1][:1] else words[-1])
    return table
