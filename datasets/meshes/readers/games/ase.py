"""ASE, the ASCII export of 3D Studio MAX: all objects as one mesh; materials are not read."""

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, MeshError, merge
from pointrecon.datasets.meshes.readers.files import Files

SPECK = 0.015  # of the size of the whole; Scorched 3D wants three objects in a file, so some have specks for the others


def read_ase(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads the first frame of all objects of a file, which are placed already.

    Args:
        data: The file.
        path: Of the file, for errors.
        files: Not used: nothing beside the mesh is read.

    Raises:
        MeshError: It is no proper mesh.
    """
    objects, depth = _Objects(path), 0
    try:
        for line in data.decode("utf-8", "replace").splitlines():
            words = line.split()
            if words:
                depth += (words[-1] == "{") - (words[0] == "}")
                objects.add(words)
    except (ValueError, IndexError) as error:
        if isinstance(error, MeshError):
            raise
        raise objects.fail(f"has a line that is no ASE ({error})") from error
    if depth:
        raise objects.fail("ends inside a block", "truncated")
    objects.close()
    mesh = merge(objects.meshes).check(path)
    limit = SPECK * _size(mesh)
    return merge(part for part in objects.meshes if _size(part) >= limit).check(path)


def _size(mesh: Mesh) -> float:
    """Returns the diagonal of the box about the faces."""
    return float(np.linalg.norm(np.ptp(mesh.vertices[mesh.faces.ravel()], axis=0)))


class _Objects:
    """What the lines of one file add up to."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.meshes: list[Mesh] = []
        self.sizes = {"*MESH_NUMVERTEX": 0, "*MESH_NUMFACES": 0}  # as declared
        self.vertices: list[tuple[float, ...]] = []
        self.faces: list[tuple[int, ...]] = []

    def fail(self, why: str, cause: str = "malformed") -> MeshError:
        return MeshError(f"'{self.path}' {why}; leave it out or fetch its package again", cause)

    def add(self, words: list[str]) -> None:
        key = words[0]
        if key == "*GEOMOBJECT":
            self.close()
        elif key == "*MESH":
            self.close()  # a further mesh of the same object is a later frame or another object
        elif key in self.sizes:
            self.sizes[key] = int(words[1])
        elif key == "*MESH_VERTEX":
            if int(words[1]) != len(self.vertices):
                raise self.fail(f"has vertex {words[1]} in place {len(self.vertices)}")
            x, y, z = words[2:5]
            self.vertices.append((float(x), float(y), float(z)))
        elif key == "*MESH_FACE":
            a, b, c = (int(words[words.index(name) + 1]) for name in ("A:", "B:", "C:"))
            self.faces.append((a, b, c))

    def close(self) -> None:
        """Ends an object."""
        found = [len(self.vertices), len(self.faces)]
        declared = list(self.sizes.values())
        if found != declared:
            raise self.fail(f"declares {declared} vertices and faces, and has {found}", "truncated")
        if self.faces:
            faces = np.array(self.faces, dtype=object)
            if faces.min() < 0 or faces.max() >= len(self.vertices):
                raise self.fail(f"has a face with vertex {faces.max()} of {len(self.vertices)}", "face out of range")
            self.meshes.append(Mesh(np.array(self.vertices), faces.astype(np.int64)))
        self.sizes = dict.fromkeys(self.sizes, 0)
        self.vertices, self.faces = [], []
