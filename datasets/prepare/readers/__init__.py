"""Readers of mesh formats. Each takes (bytes, path, files) and gives a Mesh in the axes of the file, or a MeshError."""

from collections.abc import Callable

from datasets.prepare.mesh import Mesh
from datasets.prepare.readers.ac3d import read_ac3d
from datasets.prepare.readers.ase import read_ase
from datasets.prepare.readers.colobot import read_mod
from datasets.prepare.readers.files import Files
from datasets.prepare.readers.g3d import read_g3d
from datasets.prepare.readers.obj import read_obj
from datasets.prepare.readers.pie import read_pie
from datasets.prepare.readers.pmd import read_pmd
from datasets.prepare.readers.quake import read_iqm, read_md2, read_md3
from datasets.prepare.readers.spm import read_spm
from datasets.prepare.readers.stl import read_stl
from datasets.prepare.readers.threeds import read_3ds
from datasets.prepare.readers.vrml import read_vrml

READERS: dict[str, Callable[[bytes, str, Files | None], Mesh]] = {
    ".3ds": read_3ds,
    ".ac": read_ac3d,
    ".acc": read_ac3d,
    ".ase": read_ase,
    ".g3d": read_g3d,
    ".iqm": read_iqm,
    ".md2": read_md2,
    ".md3": read_md3,
    ".mod": read_mod,
    ".obj": read_obj,
    ".pie": read_pie,
    ".pmd": read_pmd,
    ".spm": read_spm,
    ".stl": read_stl,
    ".wrl": read_vrml,
}
