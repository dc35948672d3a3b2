"""A picture of each shape of a folder for the image teacher: of the mesh or, where there are no faces, of the points.

Shape legend: n shapes, N points, K neighbours.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from pointrecon.datasets.folder.convert import MEMORY, Cache, Converted, is_current, key_of_failure
from pointrecon.datasets.folder.reading import read_geometry
from pointrecon.datasets.folder.up_axis import rotation_of
from pointrecon.datasets.meshes.mesh import Mesh
from pointrecon.datasets.meshes.render import AZIMUTHS, encode, render_views
from pointrecon.datasets.packed.places import alone
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, open_hdf5
from pointrecon.utils.log import progress_bar
from pointrecon.utils.processes.pool import Failure, TaskPool

FORMAT = "pointrecon pictures 1"
MAX_FACES = 400_000  # a larger mesh is drawn from its points
NUM_DRAWN = 2048  # points of a cloud that become discs
NEIGHBOURS = 8

log = logging.getLogger("recon")


def make_pictures(
    found: Converted, up: str, jobs: int | None, time_limit: float, azimuths: Sequence[float] = AZIMUTHS[:1]
) -> list[bytes]:
    """The n pictures as WebP, in the order of the items; those that are not in the cache yet are drawn.

    Args:
        found: The clouds, and where their files are.
        up: The axis that is up in the files.
        jobs: Child processes; None: one for each core.
        time_limit: Seconds for one file; one that takes longer is drawn from its points.
        azimuths: Degrees from the front; the first one is meant.

    Raises:
        InputError: The cache cannot be written.
    """
    cache = Cache(found.path)
    path = found.path.with_name(f"pictures-{up}.h5")
    keys = {item.id: cache.keys[item.id] for item in found.items}
    pictures, known = _read(path, keys, time_limit)
    if len(pictures) < len(keys):
        with alone(path, "the pictures of these files"):
            pictures, known = _read(path, keys, time_limit)
            rows = [row for row, item in enumerate(found.items) if item.id not in pictures]
            tasks = [(row, str(found.items[row].path), up, float(azimuths[0])) for row in rows]
            for row, picture, cause in _draw_all(tasks, jobs or os.cpu_count() or 1, time_limit):
                name, place = found.items[row].id, int(found.rows[row])
                known[name] = key_of_failure(keys[name], cause, time_limit)
                pictures[name] = picture or draw_cloud(cache.points(place), cache.colors(place), up, azimuths[0])
            if rows:
                _write(path, pictures, known)
    return [pictures[item.id] for item in found.items]


def draw_cloud(points: np.ndarray, colors: np.ndarray | None, up: str, azimuth: float = AZIMUTHS[0]) -> bytes:
    """A picture of (N, 3) points with (N, 3) uint8 colours or None, as WebP."""
    _, rows = np.unique(points[:NUM_DRAWN], axis=0, return_index=True)  # small clouds repeat their points
    turned = points[rows].astype(np.float64) @ rotation_of(up).T
    mesh = discs(turned, None if colors is None else colors[rows].astype(np.float32) / 255)
    return encode(render_views(mesh, (azimuth,))[0])


def discs(points: np.ndarray, colors: np.ndarray | None = None) -> Mesh:
    """A square at each point of a cloud, in the plane of its neighbours and about as wide as they are apart.

    Args:
        points: (N, 3), N of at least 4.
        colors: (N, 3) in 0..1.
    """
    from scipy.spatial import cKDTree

    near, rows = cKDTree(points).query(points, min(NEIGHBOURS, len(points)))
    offsets = points[rows] - points[rows].mean(1, keepdims=True)
    _, axes = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))  # the thinnest direction comes first
    typical = float(np.median(near[:, 1:])) or 0.01
    half = np.clip(near[:, min(4, near.shape[1] - 1)], 0.5 * typical, 2 * typical)[:, None]
    right, along = axes[:, :, 2] * half, axes[:, :, 1] * half
    corners = np.stack([points + right, points + along, points - right, points - along], axis=1)
    start = 4 * np.arange(len(points))[:, None]
    faces = np.concatenate([start + [0, 1, 2], start + [0, 2, 3]], axis=1).reshape(-1, 3)
    return Mesh(corners.reshape(-1, 3), faces, None if colors is None else np.repeat(colors, 2, axis=0))


def draw_task(task: tuple[int, str, str, float]) -> bytes:
    """(row, path, up, azimuth) -> WebP; an empty one: it has no faces, or too many. For child processes."""
    torch.set_num_threads(1)
    _, path, up, azimuth = task
    mesh = read_geometry(Path(path), max_points=1)
    if not isinstance(mesh, Mesh) or len(mesh.faces) > MAX_FACES:
        return b""
    return encode(render_views(mesh.transformed(rotation_of(up)), (azimuth,))[0])


def _draw_all(
    tasks: Sequence[tuple[int, str, str, float]], jobs: int, time_limit: float
) -> Iterator[tuple[int, bytes, str]]:
    """Yields the row, the picture, an empty one if there is none, and why there is none."""
    with TaskPool(draw_task, min(jobs, max(1, len(tasks))), time_limit, MEMORY) as pool:
        for task, result in progress_bar(pool.run(tasks), "drawing shapes", len(tasks)):
            if isinstance(result, Failure):
                log.warning(f"'{task[1]}' is drawn from its points: {result.message}")
                yield task[0], b"", result.cause
            else:
                yield task[0], result, ""


def _read(path: Path, keys: dict[str, str], time_limit: float) -> tuple[dict[str, bytes], dict[str, str]]:
    """The pictures that are there, of files as they are now, and what told these files' content."""
    if not path.is_file():
        return {}, {}
    try:
        with open_hdf5(path, ("ids", "keys", "pictures")) as file:
            if file.text_attribute("format") != FORMAT:
                return {}, {}
            rows = zip(file.read_texts("ids"), file.read_texts("keys"), file.read_objects("pictures"), strict=True)
            good = [row for row in rows if row[0] in keys and is_current(row[1], keys[row[0]], time_limit)]
            return {name: bytes(picture) for name, _, picture in good}, {name: key for name, key, _ in good}
    except (InputError, KeyError, ValueError):
        log.warning(f"'{path}' is damaged and is made again")
        return {}, {}


def _write(path: Path, pictures: dict[str, bytes], keys: dict[str, str]) -> None:
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        file.create_dataset("ids", data=list(pictures), dtype=h5py.string_dtype())
        file.create_dataset("keys", data=[keys[name] for name in pictures], dtype=h5py.string_dtype())
        stored = file.create_dataset("pictures", (len(pictures),), h5py.vlen_dtype(np.uint8))
        for row, picture in enumerate(pictures.values()):
            stored[row] = np.frombuffer(picture, np.uint8)
