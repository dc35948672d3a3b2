"""Readers of mesh formats. Each takes (bytes, path, files) and gives a Mesh in the axes of the file, or a MeshError."""

from collections.abc import Callable

from datasets.prepare.mesh import Mesh
from datasets.prepare.readers.ac3d import read_ac3d
from datasets.prepare.readers.files import Files
from datasets.prepare.readers.g3d import read_g3d
from datasets.prepare.readers.obj import read_obj
from datasets.prepare.readers.pie import read_pie
from datasets.prepare.readers.quake import read_iqm, read_md2, read_md3
from datasets.prepare.readers.spm import read_spm
from datasets.prepare.readers.threeds import read_3ds
from datasets.prepare.readers.vrml import read_vrml

READERS: dict[str, Callable[[bytes, str, Files | None], Mesh]] = {
    ".3ds": read_3ds,
    ".ac": read_ac3d,
    ".acc": read_ac3d,
    ".g3d": read_g3d,
    ".iqm": read_iqm,
    ".md2": read_md2,
    ".md3": read_md3,
    ".obj": read_obj,
    ".pie": read_pie,
    ".spm": read_spm,
    ".wrl": read_vrml,
}
