"""One file of a mesh or a point cloud, in any of the usual formats, to raw geometry.

Shape legend: V vertices, F faces, N points.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointrecon.datasets.folder.point_files import POINT_READERS
from pointrecon.datasets.folder.scenes import SCENE_SUFFIXES, read_scene
from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.datasets.meshes.readers.collada import read_dae
from pointrecon.datasets.meshes.readers.files import Files, FolderFiles
from pointrecon.datasets.meshes.readers.obj import read_obj
from pointrecon.datasets.meshes.readers.polyhedra import read_off, read_ply
from pointrecon.datasets.meshes.readers.stl import read_stl
from pointrecon.datasets.meshes.readers.threeds import read_3ds
from pointrecon.datasets.meshes.readers.vrml import read_vrml
from pointrecon.utils.errors import closest
from pointrecon.utils.files.io import find_problem

# This project's own readers: polygons by ear clipping, colours of materials and textures, every count checked.
OWN_READERS: dict[str, Callable[[bytes, str, Files | None], Mesh]] = {
    ".3ds": read_3ds,
    ".dae": read_dae,
    ".obj": read_obj,
    ".stl": read_stl,
    ".wrl": read_vrml,
}
# The same for polygons alone: None where the faster readers do as well.
POLYGON_READERS: dict[str, Callable[[bytes, str], Mesh | None]] = {".off": read_off, ".ply": read_ply}
SUFFIXES = tuple(sorted({*OWN_READERS, *POINT_READERS, *SCENE_SUFFIXES}))
MAX_OWN_BYTES = 48 << 20  # larger text files go through trimesh, whose parsers are vectorised
ONLY_OWN = (".3ds", ".dae")  # whatever their size
# A suffix and the first bytes that only another format has.
SIGNATURES = {
    b"glTF": ".glb",
    b"ply\n": ".ply",
    b"ply\r": ".ply",
    b"\x93NUMPY": ".npy",
    b"\x89HDF": ".h5",
    b"LASF": ".las",
    b"ASTM-E57": ".e57",
    b"#VRML": ".wrl",
    b"# .PCD": ".pcd",
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"%PDF": ".pdf",
}
SAME_BYTES = ({".las", ".laz"}, {".h5", ".hdf5"})


@dataclass
class PointSet:
    """Points without a surface.

    Attributes:
        points: (N, 3) float64 in the units and axes of the file.
        colors: (N, 3) float32 RGB in 0..1, or None.
    """

    points: np.ndarray
    colors: np.ndarray | None = None


def read_geometry(path: Path, *, max_points: int, seed: int = 0) -> Mesh | PointSet:
    """Reads a file.

    Args:
        path: Its suffix says the format, whatever its case.
        max_points: Of a larger point cloud this many are kept, drawn evenly over the file.
        seed: Of that draw.

    Raises:
        MeshError: The suffix is unknown, the file is no such thing or damaged, or holds neither face nor point.
    """
    suffix = path.suffix.lower()
    _check_suffix(path, suffix)
    if suffix in POINT_READERS:
        points, colors = POINT_READERS[suffix](path, max_points, seed)
        return check_points(PointSet(points, colors), path)
    if suffix in OWN_READERS and (suffix in ONLY_OWN or path.stat().st_size <= MAX_OWN_BYTES):
        files = FolderFiles(path.parent)
        data = files.read(path.name)
        if data is None:
            raise MeshError(f"'{path}' is not there", "missing")
        return OWN_READERS[suffix](data, path.name, files).check(str(path))
    if suffix in POLYGON_READERS and path.stat().st_size <= MAX_OWN_BYTES:
        mesh = POLYGON_READERS[suffix](path.read_bytes(), str(path))
        if mesh is not None:
            return mesh.check(str(path))
    geometry = read_scene(path)
    if isinstance(geometry, Mesh):
        return geometry.check(str(path))
    return check_points(PointSet(*geometry), path)


def check_points(cloud: PointSet, path: Path) -> PointSet:
    """Returns the cloud.

    Raises:
        MeshError: It is empty, or has a coordinate that is no sensible number.
    """
    if not len(cloud.points):
        raise MeshError(f"'{path}' holds no point; leave it out", "empty")
    if not np.isfinite(cloud.points).all() or np.abs(cloud.points).max() > 1e12:
        raise MeshError(f"'{path}' has NaN, infinite or absurdly large coordinates; leave it out", "non-finite")
    return cloud


def _check_suffix(path: Path, suffix: str) -> None:
    if suffix not in SUFFIXES:
        match = closest(suffix, SUFFIXES)
        hint = f"did you mean '{match}'? " if match else ""
        raise MeshError(f"'{path}' has an unknown suffix; {hint}readable are: {' '.join(SUFFIXES)}", "unknown suffix")
    try:
        if not (path.is_file() or path.is_dir()) and path.stat():  # what is not there has no status
            raise MeshError(f"'{path}' {find_problem(path)}; leave it out", "no plain file")
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise MeshError(f"'{path}' cannot be read: {error.strerror}", "unreadable") from error
    if not head:
        raise MeshError(f"'{path}' is empty; leave it out", "empty")
    for signature, true_suffix in SIGNATURES.items():
        is_same = any({suffix, true_suffix} <= group for group in SAME_BYTES)
        if head.startswith(signature) and suffix != true_suffix and not is_same:
            raise MeshError(f"'{path}' is a {true_suffix} file by its first bytes; rename it", "wrong suffix")
