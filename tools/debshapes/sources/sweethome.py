"""The furniture libraries of Sweet Home 3D: zip archives (.sh3f) of OBJ models with a catalogue."""

import functools
import re
from pathlib import Path

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.datasets.meshes.readers.files import ZipFiles
from pointrecon.datasets.meshes.readers.obj import read_obj

FOLDER = "usr/share/sweethome3d/furniture"
CATALOGUE = "PluginFurnitureCatalog.properties"


@functools.lru_cache(maxsize=8)
def read_catalogue(archive: Path) -> tuple[str, tuple[dict[str, str], ...]]:
    """Reads the catalogue of an archive.

    Returns:
        The licence as the catalogue states it, and the properties of each object, in the order of their numbers.

    Raises:
        MeshError: The archive or its catalogue cannot be read.
    """
    data = ZipFiles(archive).read(CATALOGUE)
    if data is None:
        raise MeshError(f"'{archive}' has no '{CATALOGUE}'; fetch its package again", "no catalogue")
    common: dict[str, str] = {}
    objects: dict[int, dict[str, str]] = {}
    for line in data.decode("latin-1").splitlines():
        key, equals, value = line.partition("=")
        if line.startswith(("#", "!")) or not equals:
            continue
        value = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match.group(1), 16)), value).strip()
        value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # Java writes pairs of halves
        name, hash_sign, number = key.strip().partition("#")
        if not hash_sign:
            common[name] = value
        elif number.isdecimal() and len(number) < 10:
            objects.setdefault(int(number), {})[name] = value
    return common.get("license", ""), tuple(objects[number] for number in sorted(objects))


def find_entry(archive: Path, model: str) -> dict[str, str]:
    """Returns the properties of the object whose id is `model`.

    Raises:
        MeshError: The catalogue has none.
    """
    for entry in read_catalogue(archive)[1]:
        if entry.get("id") == model:
            return entry
    raise MeshError(f"'{archive}' has no object '{model}'; list its objects again", "no catalogue")


def read_model(archive: Path, model: str) -> Mesh:
    """Reads an object of the catalogue as a room shows it: turned by `modelRotation`, stretched to its declared size.

    Args:
        archive: The .sh3f file.
        model: Its id in the catalogue.

    Returns:
        y up, front +z, in centimetres.

    Raises:
        MeshError: It is not there or no proper mesh.
    """
    entry, files = find_entry(archive, model), ZipFiles(archive)
    path = entry.get("model", "").lstrip("/")
    data = files.read(path)
    if data is None:
        raise MeshError(f"'{archive}' has no file '{path}'; fetch its package again", "missing file")
    mesh = read_obj(data, path, files)
    try:
        turn = np.array((entry.get("modelRotation") or "1 0 0 0 1 0 0 0 1").split(), dtype=object).astype(np.float64)
        mesh = mesh.transformed(turn.reshape(3, 3))
        size = np.array([float(entry[key]) for key in ("width", "height", "depth")])
    except (ValueError, KeyError) as error:
        raise MeshError(f"'{archive}' says nonsense about '{model}' ({error}); leave it out") from error
    used = mesh.vertices[mesh.faces.ravel()]
    extent = used.max(0) - used.min(0)
    return mesh.transformed(np.diag(np.where(extent > 0, size / np.where(extent > 0, extent, 1.0), 1.0)))
