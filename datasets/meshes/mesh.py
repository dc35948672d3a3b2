"""What a reader gives: triangles with one colour a face, and the error for a file that is no such thing.

Shape legend: V vertices, F faces.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pointrecon.utils.errors import InputError

MAX_ELEMENTS = 20_000_000  # vertices or faces of one mesh; the largest real one of the packages has under 3 million


class MeshError(InputError):
    """A mesh file that cannot be read: says which file and why.

    Args:
        message: One sentence.
        cause: Two or three words under which such failures are counted, such as 'truncated' or 'no faces'.
    """

    def __init__(self, message: str, cause: str = "malformed") -> None:
        super().__init__(message)
        self.cause = cause


@dataclass
class Mesh:
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) float64, in the units of the file; y up once a source has oriented it.
        faces: (F, 3) int64 rows of `vertices`; polygons are ear-clipped.
        colors: (F, 3) float32 RGB in 0..1, or None if the file says nothing about colours.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.vertices = np.asarray(self.vertices, np.float64).reshape(-1, 3)
        self.faces = np.asarray(self.faces, np.int64).reshape(-1, 3)
        if self.colors is not None:
            colors = np.nan_to_num(np.asarray(self.colors, np.float32), nan=0.7)  # a grey, as for faces without any
            self.colors = np.clip(colors.reshape(-1, 3), 0.0, 1.0)

    def check(self, name: str) -> "Mesh":
        """Refuses a mesh that nothing can be done with, and returns it otherwise.

        Args:
            name: How to call it in an error.

        Raises:
            MeshError: There are no faces, a face names a vertex that is not there, a coordinate is not finite, or the
                colours are not one a face.
        """
        if not len(self.faces):
            raise MeshError(f"'{name}' has no faces; leave it out", "no faces")
        if max(len(self.vertices), len(self.faces)) > MAX_ELEMENTS:
            raise MeshError(f"'{name}' has over {MAX_ELEMENTS} vertices or faces; leave it out", "too large")
        if self.faces.min() < 0 or self.faces.max() >= len(self.vertices):
            raise MeshError(
                f"'{name}' has a face with vertex {self.faces.min()} or {self.faces.max()}, but only "
                f"{len(self.vertices)} vertices; leave it out",
                "face out of range",
            )
        used = self.vertices[self.faces.ravel()]
        if not np.isfinite(used).all() or np.abs(used).max() > 1e12:
            raise MeshError(f"'{name}' has coordinates that are no sensible numbers; leave it out", "not finite")
        if self.colors is not None and len(self.colors) != len(self.faces):
            raise MeshError(f"'{name}' has {len(self.colors)} colours for {len(self.faces)} faces; leave it out")
        return self

    def transformed(self, matrix: np.ndarray) -> "Mesh":
        """Returns the mesh with every vertex v replaced by `matrix` @ (v, 1).

        Args:
            matrix: (3, 3), (3, 4) or (4, 4). A reflection turns the faces over, so that they keep facing outwards.
        """
        matrix = np.asarray(matrix, np.float64)
        vertices = self.vertices @ matrix[:3, :3].T
        if matrix.shape[1] == 4:
            vertices = vertices + matrix[:3, 3]
        faces = self.faces[:, ::-1] if np.linalg.det(matrix[:3, :3]) < 0 else self.faces
        return Mesh(vertices, faces, self.colors)


def merge(meshes: Iterable[Mesh], default_color: tuple[float, float, float] = (0.7, 0.7, 0.7)) -> Mesh:
    """Joins meshes into one; faces without a colour get `default_color` if any mesh has colours.

    Args:
        meshes: Any number, none included.
        default_color: RGB in 0..1.
    """
    meshes = list(meshes)
    vertices = np.concatenate([mesh.vertices for mesh in meshes] or [np.zeros((0, 3))])
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    faces = np.concatenate(
        [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)] or [np.zeros((0, 3), np.int64)]
    )
    if all(mesh.colors is None for mesh in meshes):
        return Mesh(vertices, faces)
    colors = [
        np.tile(np.array(default_color, np.float32), (len(mesh.faces), 1)) if mesh.colors is None else mesh.colors
        for mesh in meshes
    ]
    return Mesh(vertices, faces, np.concatenate(colors))
