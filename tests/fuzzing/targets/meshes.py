"""What is fuzzed of meshes and clouds: a miniature in every format that this project reads itself."""

import functools
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from pointrecon.datasets.folder.reading import PointSet, read_geometry
from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.datasets.meshes.readers import READERS
from pointrecon.datasets.meshes.readers.files import Files, FolderFiles, ZipFiles
from pointrecon.utils.errors import InputError
from tests.datasets.meshes.readers.test_ase_and_stl import ASE, STL
from tests.datasets.meshes.readers.test_binary_formats import FILES
from tests.datasets.meshes.readers.test_text_formats import AC3D, PIE, VRML
from tests.fuzzing.forms import Form, WrongResult
from tests.fuzzing.mutations import spoil_array, spoil_bytes, spoil_hdf5, spoil_text

OBJ = (
    b"# a comment\nmtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0 #1\nv 0.5 0.5 1\nvt 0 0\nvt 1 0\nvt 1 1\nvn 0 0 1\n"
    b"o thing\nusemtl a b\nf 1 2 3 4\nusemtl t\ns off\nf -4/1 -3/2 -2/3\nf 1//1 2//1 5//1\nf 1/1/1 2/2/1 \\\n 3/3/1\n"
)
MTL = b"newmtl a b\nKd 1 0 0\nd 0.5\nnewmtl t\nKd 0 0 0\nmap_Kd -s 1 1 1 t.png\n"
PCD = b"# .PCD v0.7\nVERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\nWIDTH 4\nHEIGHT 1\n"
PCD += b"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 4\nDATA ascii\n" + b"0 1 2 255\n1 1 2 255\n2 1 2 65280\n0 3 1 0\n"
TEXTS = {
    "obj": OBJ,
    "wrl": VRML,
    "ac": AC3D,
    "acc": AC3D,
    "ase": ASE,
    "stl": STL,
    "pie": PIE,
    "pcd": PCD,
    "xyz": b"0 1 2\n3 4 5\n6 7 8.5\n",
    "csv": b"x,y,z,r,g,b\n0,1,2,255,0,0\n1,1,2,0,0,0\n",
    "pts": b"2\n0 1 2 9 255 0 0\n1 1 2 9 0 0 0\n",
}
# What else the words of these formats may be.
WORDS = (
    "f 1 2 3\n",
    "1e308",
    "-1",
    "4294967295",
    "DEF A Group { children [ USE A ] }",
    "kids 9",
    "nan",
    "\\\n",
    "usemtl x",
)
WORDS += (
    "numvert 99999999",
    "POINTS 999999999",
    "children [",
    "}",
    "{",
    "map_Kd ../../etc/passwd",
    "mtllib /etc/passwd",
)


def _picture() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (4, 4), (0, 0, 255)).save(data, "PNG")
    return data.getvalue()


def write_text(folder: Path, suffix: str) -> None:
    """A text file; beside it materials and a texture."""
    (folder / f"a.{suffix}").write_bytes(TEXTS[suffix])
    if suffix == "obj":
        (folder / "m.mtl").write_bytes(MTL)
        (folder / "t.png").write_bytes(_picture())
    if suffix == "pie":
        (folder / "page.png").write_bytes(_picture())


def write_binary(folder: Path, name: str) -> None:
    """A binary file of the readers' own tests."""
    suffix, data = FILES[name]
    (folder / f"a{suffix}").write_bytes(data)


def write_points(folder: Path, suffix: str) -> None:
    """Arrays of points."""
    points, colors = np.random.RandomState(0).rand(8, 3), np.zeros((8, 3), np.uint8)
    if suffix == "npy":
        np.save(folder / "a.npy", points)
    elif suffix == "npz":
        np.savez_compressed(folder / "a.npz", points=points, colors=colors)
    elif suffix == "pcd":
        head = PCD[: PCD.index(b"DATA")] + b"DATA binary\n"
        rows = np.concatenate([points[:4].astype("<f4").view("u1").reshape(4, 12), np.zeros((4, 4), "u1")], axis=1)
        (folder / "a.pcd").write_bytes(head + rows.tobytes())
    else:
        with h5py.File(folder / "a.h5", "w") as file:
            file["points"], file["colors"] = points, colors


def write_archive(folder: Path) -> None:
    """A mesh, its material and its texture in a zip archive."""
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (("x/a.obj", OBJ), ("x/m.mtl", MTL), ("x/T.PNG", _picture())):
            archive.writestr(name, data)


def spoil_mesh(path: Path, rng: random.Random) -> None:
    """Changes words, numbers, arrays or bytes."""
    data = path.read_bytes()
    kind = rng.random()
    if path.suffix[1:] in TEXTS and not data.startswith(b"\0") and kind < 0.7 and b"DATA binary" not in data:
        text = spoil_text(data.decode("latin1"), rng)
        if kind < 0.3:
            place = rng.randrange(len(text) + 1)
            text = text[:place] + rng.choice(WORDS) + text[place:]
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    elif path.suffix == ".npy" and kind < 0.6:
        np.save(path, np.asarray(spoil_array(np.load(path), rng)))
    elif path.suffix == ".npz" and kind < 0.6:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file}
        name = rng.choice(sorted(arrays))
        arrays[rng.choice((name, "points", "xyz", "x" * 500))] = np.asarray(spoil_array(arrays.pop(name), rng))
        np.savez(path, **arrays)
    elif path.suffix == ".h5" and kind < 0.7:
        spoil_hdf5(path, rng)
    else:
        path.write_bytes(spoil_bytes(data, rng))


def read_mesh(folder: Path, suffix: str) -> None:
    """Reads the file with its own reader."""
    _check(lambda: READERS[suffix]((folder / f"a{suffix}").read_bytes(), f"a{suffix}", FolderFiles(folder)))


def read_in_archive(folder: Path) -> None:
    """Reads the mesh in the archive."""

    def read() -> Mesh:
        files: Files = ZipFiles(folder / "a.zip")
        data = files.read("x/a.obj")
        if data is None:
            raise MeshError("the mesh is not in the archive any more", "missing")
        return READERS[".obj"](data, "x/a.obj", files)

    _check(read)


def read_any(folder: Path) -> None:
    """Reads the file as one of a folder of own files."""
    path = next(iter(sorted(folder.glob("a.*"))))
    _check(lambda: read_geometry(path, max_points=6))


def _check(read: Callable[[], Mesh | PointSet]) -> None:
    try:
        found = read()
    except MeshError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{error} ({error.cause})") from error
    if isinstance(found, PointSet):
        is_right = found.points.ndim == 2 and found.points.shape[1] == 3 and 0 < len(found.points)
        is_right &= bool(np.isfinite(found.points).all())
        colors = found.colors
        is_right &= colors is None or colors.shape == found.points.shape
    else:
        faces, colors = found.faces, found.colors
        is_right = faces.ndim == 2 and faces.shape[1] == 3 and found.vertices.shape[1:] == (3,)
        is_right &= not len(faces) or (0 <= faces.min() and faces.max() < len(found.vertices))
        is_right &= bool(np.isfinite(found.vertices[faces.ravel()]).all())
        is_right &= colors is None or colors.shape == faces.shape
    if not is_right or (colors is not None and not (np.isfinite(colors).all() and colors.min(initial=0) >= 0)):
        raise WrongResult("the mesh or the cloud cannot be")


def _text_form(suffix: str) -> Form:
    write = functools.partial(write_text, suffix=suffix)
    if f".{suffix}" in READERS:
        return Form(suffix, write, functools.partial(read_mesh, suffix=f".{suffix}"), spoil_mesh)
    return Form(suffix, write, read_any, spoil_mesh)


FORMS = (
    *map(_text_form, TEXTS),
    *(
        Form(
            name,
            functools.partial(write_binary, name=name),
            functools.partial(read_mesh, suffix=FILES[name][0]),
            spoil_mesh,
        )
        for name in FILES
    ),
    *(
        Form(f"{suffix} of points", functools.partial(write_points, suffix=suffix), read_any, spoil_mesh)
        for suffix in ("npy", "npz", "pcd", "h5")
    ),
    Form("obj in a zip", write_archive, read_in_archive, spoil_mesh),
)
