"""The bundled file from its original archives, and what differs from the one that is there.

Shape legend: n objects, N points per object.
"""

import csv
import io
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from pointrecon.datasets.meshes.clean import face_areas
from pointrecon.datasets.meshes.mesh import Mesh
from pointrecon.datasets.meshes.readers.files import ZipFiles
from pointrecon.datasets.meshes.sampling import random_of
from pointrecon.tools.debshapes.sources import sweethome
from pointrecon.tools.debshapes.sources.packages import download, find_package, unpack
from pointrecon.tools.environment import ROOT
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, open_hdf5
from pointrecon.utils.files.pictures import open_picture
from pointrecon.utils.log import progress_bar
from pointrecon.utils.processes.pool import Failure, TaskPool

PACKAGE = "sweethome3d-furniture"
TABLE = ROOT / "data" / "sweethome3d" / "classes.tsv"  # what people decided: class and split of each object
NUM_DRAWN, NUM_POINTS = 8192, 2048
TIME_LIMIT = 1800.0  # seconds for one object; a second or two on an idle machine
NUM_ROWS = 20  # objects in a chunk of the file
LICENCES = {
    "BlendSwap-CC-0": "CC0-1.0",
    "BlendSwap-CC-BY": "CC-BY-3.0",
    "KatorLegaz": "CC-BY-3.0-US",
    "Reallusion": "CC-BY-3.0-US",
    "Scopia": "CC-BY-3.0",
}
# The finer labels that are one class with others.
CLASS_OF = {
    **{"shelf": "cabinet", "armchair": "sofa", "stool": "stool_bench", "bench": "stool_bench"},
    **{"toilet": "bathroom", "sink_bath": "bathroom"},
    **dict.fromkeys(("animal", "radiator", "fence", "bike"), "other"),
}
NOTE = "y up, front +z, unit sphere about the centroid of the points; split 0 train 1 test, only for class!=other"
TEXTS = ("name", "tags", "category", "id", "creator", "source", "licence", "class_name", "fine")
SAME_SURFACE = 1.1  # times as far apart as two draws, up to which an object is called the same

log = logging.getLogger("recon")


@dataclass
class Rebuilt:
    """One object.

    Attributes:
        points: (N, 3) float16.
        picture: WebP.
        apart: Chamfer distance (norm 1) to the points of the other file.
        drawn_apart: The same between two draws from the surface.
    """

    points: np.ndarray
    picture: bytes
    apart: float
    drawn_apart: float


def find_archives(archives: Path | None, packages: Path | None, out: Path) -> list[Path]:
    """The five .sh3f files: of a folder, of a .deb file in a folder, or of the package that is downloaded beside `out`.

    Raises:
        InputError: They are not there, or cannot be had.
    """
    if archives is None:
        work = out.absolute().parent / f".{out.stem}.work"
        deb = find_package(PACKAGE, packages) if packages is not None else download([PACKAGE], work)[0]
        if deb is None:
            raise InputError(f"there is no '{PACKAGE}_*.deb' in '{packages}'")
        archives = unpack(deb, work, lambda path: path.endswith(".sh3f")) / sweethome.FOLDER
    found = sorted(archives.glob("*.sh3f"))
    missing = set(LICENCES) - {path.stem for path in found}
    if missing:
        raise InputError(f"'{archives}' lacks {', '.join(f'{name}.sh3f' for name in sorted(missing))}")
    return [path for path in found if path.stem in LICENCES]


def rebuild(
    archives: Sequence[Path], out: Path, *, against: Path, jobs: int | None = None, keep_points: bool = False
) -> list[Rebuilt]:
    """Makes the file anew; every call gives the same bytes with the same versions of h5py, NumPy and Pillow.

    Args:
        archives: The .sh3f files.
        out: Where to.
        against: The file whose points the new ones are compared with.
        jobs: Child processes; None: one for each core.
        keep_points: Take the points of the other file: the draw that made them was not noted.

    Raises:
        InputError: An archive is damaged or of another version, or the file cannot be written.
    """
    rows = [(path, entry) for path in archives for entry in sweethome.read_catalogue(path)[1]]
    table = read_classes(TABLE)
    ids = [entry.get("id", "") for _, entry in rows]
    if ids != list(table):
        raise InputError(
            f"the archives list {len(ids)} objects and '{TABLE}' {len(table)}, or others; take version 1.8 of {PACKAGE}"
        )
    with h5py.File(against, "r") as file:
        points = {name: file["points"][row] for row, name in enumerate(file["id"].asstr()[:])}
    if keep_points and set(ids) - set(points):
        raise InputError(f"'{against}' lacks points of {len(set(ids) - set(points))} objects; leave --keep_points out")
    tasks = [(str(path), entry["id"], points.get(entry["id"])) for path, entry in rows]
    made: dict[str, Rebuilt] = {}
    with TaskPool(rebuild_task, jobs or os.cpu_count() or 1, TIME_LIMIT) as pool:
        for task, result in progress_bar(pool.run(tasks), "rebuilding objects", len(tasks)):
            if isinstance(result, Failure):
                raise InputError(f"'{task[1]}' in '{task[0]}' cannot be rebuilt: {result.message}")
            made[task[1]] = result
    objects = [made[name] for name in ids]
    fields = fields_of(rows, table)
    clouds = [points[name] if keep_points else made[name].points for name in ids]
    write_file(out, fields, np.stack(clouds), [item.picture for item in objects])
    tell_distances(ids, objects)
    return objects


def rebuild_task(task: tuple[str, str, np.ndarray | None]) -> Rebuilt:
    """(archive, id, points to compare with or None) -> the object; for child processes."""
    torch.set_num_threads(1)
    archive, name, other = Path(task[0]), task[1], task[2]
    mesh = sweethome.read_model(archive, name).check(name)
    points, again = (draw(mesh, random_of(f"{name} {number}")) for number in (0, 1))
    entry = sweethome.find_entry(archive, name)
    icon = ZipFiles(archive).read(entry.get("icon", "").lstrip("/"))
    if icon is None:
        raise InputError(f"'{archive}' has no picture of '{name}'")
    apart = float("nan") if other is None else distance(points, other)
    return Rebuilt(points, encode_icon(icon), apart, distance(points, again))


def draw(mesh: Mesh, random: np.random.RandomState) -> np.ndarray:
    """(N, 3) float16: a part of 8192 free draws, evenly by area, about their mean, the farthest at distance 1.

    As in the file that is there: draws in equal parts of the area, as elsewhere here, would lie more evenly.
    """
    ends = np.cumsum(face_areas(mesh))
    faces = np.minimum(np.searchsorted(ends, random.random_sample(NUM_DRAWN) * ends[-1]), len(ends) - 1)
    root, along = np.sqrt(random.random_sample((NUM_DRAWN, 1))), random.random_sample((NUM_DRAWN, 1))
    a, b, c = (mesh.vertices[mesh.faces[faces, corner]] for corner in range(3))
    points = (1 - root) * a + root * (1 - along) * b + root * along * c
    points = points - points.mean(0)
    return (points[:NUM_POINTS] / np.sqrt((points**2).sum(1).max())).astype(np.float16)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Chamfer distance of two clouds, norm 1, mean of both ways."""
    from scipy.spatial import cKDTree

    one, other = one.astype(np.float64), other.astype(np.float64)
    return float((cKDTree(one).query(other)[0].mean() + cKDTree(other).query(one)[0].mean()) / 2)


def encode_icon(data: bytes) -> bytes:
    """A catalogue's picture -> WebP of 128 x 128 on white."""
    from PIL import Image

    buffer = io.BytesIO()
    with open_picture(data) as picture:
        rgba = picture.convert("RGBA")
        flat = Image.new("RGB", rgba.size, "white")
        flat.paste(rgba, mask=rgba.getchannel("A"))
        flat.resize((128, 128)).save(buffer, "WEBP", quality=80, method=6)
    return buffer.getvalue()


def read_classes(path: Path) -> dict[str, tuple[str, int]]:
    """id -> (finer label, 1 for testing).

    Raises:
        InputError: The table is missing or damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
            return {row["id"]: (row["fine"], int(row["split"] == "test")) for row in rows}
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' comes with the repository and cannot be read ({error}); restore it") from error


def fields_of(rows: Sequence[tuple[Path, dict[str, str]]], table: dict[str, tuple[str, int]]) -> dict[str, Any]:
    """All fields but points and pictures, by name."""
    fine = [table[entry["id"]][0] for _, entry in rows]
    class_name = [CLASS_OF.get(name, name) for name in fine]
    classes = [*sorted(set(class_name) - {"other"}), "other"]
    return {
        **{name: [entry.get(name, "") for _, entry in rows] for name in ("name", "tags", "category", "id", "creator")},
        "source": [path.stem for path, _ in rows],
        "licence": [LICENCES[path.stem] for path, _ in rows],
        "class_name": class_name,
        "fine": fine,
        "class": np.array([classes.index(name) for name in class_name], np.int16),
        "split": np.array([table[entry["id"]][1] for _, entry in rows], np.int8),
        "group": np.arange(len(rows), dtype=np.int32),
        "size_cm": np.array([[float(entry[key]) for key in ("width", "height", "depth")] for _, entry in rows], "f4"),
        "classes": classes,
    }


def write_file(out: Path, fields: dict[str, Any], points: np.ndarray, pictures: Sequence[bytes]) -> None:
    """Writes the file, its parts in the order of the bundled one, whole or not at all."""
    with atomic_write(out) as temporary, h5py.File(temporary, "w") as file:
        packed: dict[str, Any] = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
        file.create_dataset("points", data=points, chunks=(min(NUM_ROWS, len(points)), *points.shape[1:]), **packed)
        for name in TEXTS:
            file.create_dataset(name, data=fields[name], dtype=h5py.string_dtype())
        for name in ("class", "group", "split", "size_cm"):
            file.create_dataset(name, data=fields[name])
        file.attrs["classes"] = fields["classes"]
        file.attrs["note"] = NOTE
        icons = file.create_dataset("icon_webp", (len(pictures),), h5py.vlen_dtype(np.uint8))
        for row, picture in enumerate(pictures):
            icons[row] = np.frombuffer(picture, np.uint8)


def tell_distances(ids: Sequence[str], objects: Sequence[Rebuilt]) -> None:
    """Logs how far the points are from those of the other file, in distances of two draws from one surface."""
    ratios = np.array([item.apart / item.drawn_apart for item in objects])
    known = np.isfinite(ratios)
    if not known.any():
        return
    low, middle, high = np.percentile(ratios[known], (1, 50, 99))
    far = [f"{ids[row]} ({ratios[row]:.2f})" for row in np.argsort(-ratios) if ratios[row] > SAME_SURFACE]
    log.info(
        f"points: {middle:.3f} times as far from the other file's as two draws from a surface are from each other "
        f"(1 % to 99 %: {low:.3f} to {high:.3f}); above {SAME_SURFACE}: {len(far)}{': ' if far else ''}"
        + ", ".join(far[:20])
    )


def format_comparison(one: Path, other: Path) -> str:
    """Field by field: how many objects differ."""
    lines = []
    with open_hdf5(one) as ours, open_hdf5(other) as theirs:
        for name in sorted({*ours, *theirs}):
            if name not in ours or name not in theirs:
                lines.append(f"{name}: only in one of the files")
                continue
            first, second = ours[name][:], theirs[name][:]
            if len(first) != len(second):
                lines.append(f"{name}: {len(first)} and {len(second)} objects")
                continue
            count = sum(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))
            lines.append(f"{name}: {'the same' if not count else f'{count} of {len(first)} differ'}")
        equal = all(np.array_equal(ours.attrs[name], theirs.attrs[name]) for name in ("classes", "note"))
        lines.append(f"attributes: {'the same' if equal else 'differ'}")
    is_same = one.read_bytes() == other.read_bytes()
    return "\n".join([*lines, f"'{one}' and '{other}' are {'the same' if is_same else 'not the same'} byte for byte"])
