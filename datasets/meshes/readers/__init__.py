"""Readers of mesh formats. Each takes (bytes, path, files) and gives a Mesh in the axes of the file, or a MeshError."""

from collections.abc import Callable

from pointrecon.datasets.meshes.mesh import Mesh
from pointrecon.datasets.meshes.readers.files import Files
from pointrecon.datasets.meshes.readers.games.ac3d import read_ac3d
from pointrecon.datasets.meshes.readers.games.ase import read_ase
from pointrecon.datasets.meshes.readers.games.colobot import read_mod
from pointrecon.datasets.meshes.readers.games.g3d import read_g3d
from pointrecon.datasets.meshes.readers.games.pie import read_pie
from pointrecon.datasets.meshes.readers.games.pmd import read_pmd
from pointrecon.datasets.meshes.readers.games.quake import read_iqm, read_md2, read_md3
from pointrecon.datasets.meshes.readers.games.spm import read_spm
from pointrecon.datasets.meshes.readers.obj import read_obj
from pointrecon.datasets.meshes.readers.stl import read_stl
from pointrecon.datasets.meshes.readers.threeds import read_3ds
from pointrecon.datasets.meshes.readers.vrml import read_vrml

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
