"""AC3D (.ac), and TORCS's variant .acc: vertices with normals, several texture places a corner, strips."""

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, MeshError, merge
from pointrecon.datasets.meshes.readers.files import Files
from pointrecon.datasets.meshes.readers.textures import assemble, find_texture

MAX_DEPTH = 64
STRIP = 4  # surface type of a triangle strip, in .acc files; 0 is a polygon, 1 and 2 are lines


def read_ac3d(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads the objects of an AC3D file as one mesh.

    Args:
        data: The file.
        path: Of the file, to find textures and for errors.
        files: Where these are.

    Raises:
        MeshError: It is no proper mesh.
    """
    if data[:4] != b"AC3D":
        raise MeshError(f"'{path}' does not begin with AC3D; leave it out", "unsupported")
    lines = data.decode("utf-8", "replace").splitlines()
    try:
        return merge(_Reader(lines, path, files).meshes()).check(path)
    except (ValueError, IndexError, OverflowError) as error:
        if isinstance(error, MeshError):
            raise
        raise MeshError(f"'{path}' is no AC3D that can be read ({error}); leave it out") from error


class _Reader:
    """A position among the lines of one file."""

    def __init__(self, lines: list[str], path: str, files: Files | None) -> None:
        self.lines = lines
        self.path = path
        self.files = files
        self.at = 1
        self.materials: list[tuple[float, ...]] = []

    def next(self) -> list[str]:
        """Returns the words of the next line that is not empty; none at the end."""
        while self.at < len(self.lines):
            words = self.lines[self.at].split()
            self.at += 1
            if words:
                return words
        return []

    def take(self, count: int) -> list[list[str]]:
        """Returns the words of the next `count` lines that are not empty."""
        if not 0 <= count <= len(self.lines) - self.at:
            raise MeshError(f"'{self.path}' declares {count} lines, but ends before; leave it out", "truncated")
        return [self.next() for _ in range(count)]

    def meshes(self) -> list[Mesh]:
        found: list[Mesh] = []
        while words := self.next():
            if words[0] == "MATERIAL":
                start = words.index("rgb") + 1
                self.materials.append(tuple(float(word) for word in words[start : start + 3]))
            elif words[0] == "OBJECT":
                found += self.object(np.eye(3), np.zeros(3), 0)
        return found

    def object(self, turn: np.ndarray, shift: np.ndarray, depth: int) -> list[Mesh]:
        """Reads an object and its children, placed by the rotation and the shift of those above it."""
        if depth > MAX_DEPTH:
            raise ValueError(f"objects are nested more than {MAX_DEPTH} deep")
        texture, repeat, offset = "", np.ones(2), np.zeros(2)
        vertices, surfaces = np.zeros((0, 3)), []
        while words := self.next():
            key = words[0]
            if key == "texture":
                is_first = not texture and (len(words) < 3 or words[-1] == "base")
                texture = words[1].strip('"') if is_first else texture
            elif key == "texrep":
                repeat = np.array(words[1:3], dtype=object).astype(np.float64)
            elif key == "texoff":
                offset = np.array(words[1:3], dtype=object).astype(np.float64)
            elif key == "rot":
                turn = turn @ np.array(words[1:10], dtype=object).astype(np.float64).reshape(3, 3).T
            elif key == "loc":
                shift = shift + turn_before(turn, words[1:4])
            elif key == "data":
                self.skip_text(int(words[1]))
            elif key == "numvert":
                rows = [line[:3] for line in self.take(int(words[1]))]
                vertices = np.array(rows, dtype=object).astype(np.float64).reshape(-1, 3)
            elif key == "numsurf":
                surfaces = [self.surface() for _ in range(self.checked(int(words[1])))]
            elif key == "kids":
                meshes = self.make(vertices @ turn.T + shift, surfaces, texture, repeat, offset)
                for _ in range(self.checked(int(words[1]))):
                    if self.next()[:1] != ["OBJECT"]:
                        raise ValueError("a child object is missing")
                    meshes += self.object(turn, shift, depth + 1)
                return meshes
        raise MeshError(f"'{self.path}' ends inside an object; fetch its package again", "truncated")

    def checked(self, count: int) -> int:
        if not 0 <= count <= len(self.lines):
            raise MeshError(f"'{self.path}' declares {count} elements; leave it out", "truncated")
        return count

    def skip_text(self, length: int) -> None:
        """Passes over free text of so many characters, line ends included."""
        while length > 0 and self.at < len(self.lines):
            length -= len(self.lines[self.at]) + 1
            self.at += 1

    def surface(self) -> tuple[int, int, np.ndarray]:
        """Reads one surface: type, material, and rows of (vertex, u, v)."""
        kind, material = 0, 0
        while words := self.next():
            if words[0] == "SURF":
                kind = int(words[1], 16) & 0xF
            elif words[0] == "mat":
                material = int(words[1])
            elif words[0] == "refs":
                rows = [(line + ["0", "0"])[:3] for line in self.take(int(words[1]))]
                return kind, material, np.array(rows, dtype=object).astype(np.float64).reshape(-1, 3)
        raise MeshError(f"'{self.path}' ends inside a surface; fetch its package again", "truncated")

    def make(
        self, vertices: np.ndarray, surfaces: list, texture: str, repeat: np.ndarray, offset: np.ndarray
    ) -> list[Mesh]:
        polygons, materials = [], []
        for kind, material, rows in surfaces:
            if kind == 0 and len(rows) >= 3:
                polygons.append(rows)
                materials.append(material)
            elif kind == STRIP:
                for start in range(len(rows) - 2):
                    part = rows[start : start + 3]
                    polygons.append(part[::-1] if start % 2 else part)
                    materials.append(material)
        if not polygons:
            return []
        corners = np.concatenate(polygons)
        table = np.array([*self.materials, (0.7, 0.7, 0.7)])
        chosen = np.array(materials)
        chosen[(chosen < 0) | (chosen >= len(self.materials))] = len(self.materials)
        image = find_texture(self.files, self.path, texture)
        counts = np.array([len(rows) for rows in polygons])
        texture_of = np.zeros(len(polygons), np.int64)
        uv = corners[:, 1:] * repeat + offset
        return [assemble(self.path, vertices, counts, corners[:, 0], table[chosen], uv, texture_of, [image])]


def turn_before(turn: np.ndarray, words: list[str]) -> np.ndarray:
    """Turns a shift, given as words, by the rotation of the objects above."""
    return turn @ np.array(words, dtype=object).astype(np.float64)
