"""What users hand to a model, as clouds with names.

Shape legend: B shapes, N points.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from pointrecon.datasets.folder.listing import list_files
from pointrecon.datasets.folder.reading import PointSet
from pointrecon.datasets.folder.sampling import sample_file, sample_geometry
from pointrecon.datasets.folder.up_axis import guess_up, rotation_of
from pointrecon.datasets.meshes.mesh import Mesh
from pointrecon.utils.errors import InputError
from pointrecon.utils.processes.pool import Failure, TaskPool

# An array (N, 3) or (B, N, 3), a path, a folder, a trimesh object, or a list of such.
Shapes: TypeAlias = Any
TIME_LIMIT = 120.0  # seconds for one file
MEMORY = 4 << 30  # bytes that a reading process may hold
FILES_AT_ONCE = 2048  # points of so many files are held; a multiple of usual batch sizes


class NoShapes(InputError):
    """There is nothing that can be read.

    Args:
        skipped: id -> why a file could not be read.
    """

    def __init__(self, skipped: dict[str, str]) -> None:
        first = next(iter(skipped.values()), "an empty list was given")
        super().__init__(f"there is no shape to work on: {first}")
        self.skipped = skipped


@dataclass
class Listed:
    """Files of some shapes, by name; counts as shapes itself."""

    items: list[tuple[str, Path]]


@dataclass
class Clouds:
    """Shapes as a model takes them.

    Attributes:
        ids: Path or place in the input.
        points: (B, N, 3) float32, +y up, each centred and in the unit sphere, farthest points first.
        skipped: id -> why a file could not be read.
    """

    ids: list[str]
    points: np.ndarray
    skipped: dict[str, str]


def to_clouds(shapes: Shapes, *, num_points: int, up: str = "y", seed: int = 0, jobs: int = 1) -> Clouds:
    """Samples whatever was given.

    Args:
        shapes: An array or tensor (N, 3) or (B, N, 3), a path of a file, a folder or a CSV table, a trimesh object, or
            a list of such.
        num_points: N.
        up: The axis that is up in what was given: y, z, -y, -z, x, -x, or auto to guess one for all.
        seed: Of the sampling.
        jobs: Processes that read files, `TIME_LIMIT` seconds each; 0: this one, without a limit.

    Raises:
        InputError: Nothing was given, it is of an unknown type or shape, or a file is not there.
    """
    ids, points, suffixes, skipped = [], [], [], {}
    files: list[tuple[str, Path]] = []
    for name, item in _flatten(shapes):
        if isinstance(item, Path):
            files.append((name, item))
        else:
            ids.append(name)
            points.append(sample_geometry(item, num_points=num_points, seed=seed, name=name).points)
            suffixes.append("")
    for name, path, result in _read_all(files, num_points, seed, jobs):
        if isinstance(result, Failure):
            skipped[name] = result.message
        else:
            ids.append(name)
            points.append(result)
            suffixes.append(path.suffix)
    if not points:
        raise NoShapes(skipped)
    axis = guess_up(points, suffixes).axis if up == "auto" else up
    turned = np.stack(points) @ rotation_of(axis).T.astype(np.float32)
    return Clouds(ids, np.ascontiguousarray(turned, np.float32), skipped)


def read_parts(shapes: Shapes, *, num_points: int, up: str = "y", jobs: int = 1) -> Iterator[Clouds]:
    """`to_clouds`, `FILES_AT_ONCE` files after the other, so that many take little memory.

    Args:
        shapes: As for `to_clouds`.
        num_points: As there.
        up: As there; `auto`: of more files than are read at once, guessed from as many, evenly drawn.
        jobs: As there.

    Raises:
        InputError: As there; also if no part has anything that can be read.
    """
    parts = split_files(shapes, FILES_AT_ONCE)
    up = find_up(parts, num_points=num_points, jobs=jobs) if up == "auto" and len(parts) > 1 else up
    skipped: dict[str, str] = {}
    is_empty = True
    for part in parts:
        try:
            clouds = to_clouds(part, num_points=num_points, up=up, jobs=jobs)
        except NoShapes as error:
            skipped |= error.skipped
            continue
        is_empty = False
        yield replace(clouds, skipped=skipped | clouds.skipped)
        skipped = {}
    if is_empty:
        raise NoShapes(skipped)
    if skipped:
        yield Clouds([], np.empty((0, num_points, 3), np.float32), skipped)


def split_files(shapes: Shapes, size: int) -> list[Shapes]:
    """The same shapes in parts of at most `size` files; arrays, which are in memory anyway, stay together.

    Raises:
        InputError: A path is not there.
    """
    if not isinstance(shapes, (str, Path)):
        if not isinstance(shapes, Iterable) or isinstance(shapes, (np.ndarray, torch.Tensor)):
            return [shapes]
        if not hasattr(shapes, "vertices") and not hasattr(shapes, "geometry"):
            shapes = list(shapes)  # it may be a generator
        if not all(isinstance(item, (str, Path)) for item in shapes):
            return [shapes]
    files = [(name, item) for name, item in _flatten(shapes) if isinstance(item, Path)]
    return [Listed(files[start : start + size]) for start in range(0, len(files), size)] or [shapes]


def find_up(parts: Sequence[Shapes], *, num_points: int, jobs: int = 1) -> str:
    """The axis that is up in parts that `split_files` made, guessed from as many files of all of them as one has.

    Raises:
        InputError: None of these can be read.
    """
    files = [item for part in parts for item in part.items]
    drawn = [files[int(row)] for row in np.linspace(0, len(files) - 1, min(len(files), len(parts[0].items)))]
    clouds = to_clouds(Listed(drawn), num_points=num_points, jobs=jobs)
    return guess_up(list(clouds.points), [Path(name).suffix for name in clouds.ids]).axis


def _flatten(shapes: Shapes) -> Iterator[tuple[str, Path | Mesh | PointSet]]:
    if isinstance(shapes, Listed):
        yield from shapes.items
    elif isinstance(shapes, (str, Path)):
        yield from _from_path(Path(shapes).expanduser())
    elif isinstance(shapes, (np.ndarray, torch.Tensor)):
        yield from _from_array(np.asarray(shapes.detach().cpu() if isinstance(shapes, torch.Tensor) else shapes))
    elif hasattr(shapes, "vertices") or hasattr(shapes, "geometry"):
        yield "0", _from_trimesh(shapes)
    elif isinstance(shapes, Iterable):
        for row, item in enumerate(shapes):
            if isinstance(item, (str, Path)) and not Path(item).expanduser().exists():
                yield str(item), Path(item)  # among others, what is not there is skipped as what cannot be read
                continue
            pairs = list(_flatten(item))
            for name, value in pairs:
                is_path = isinstance(value, Path)
                yield (name if is_path else str(row) if len(pairs) == 1 else f"{row}/{name}"), value
    else:
        raise InputError(
            f"a {type(shapes).__name__} is no shape; give an array (N, 3) or (B, N, 3), a path, a folder, a trimesh "
            "object, or a list of these"
        )


def _from_path(path: Path) -> Iterator[tuple[str, Path]]:
    if not path.exists():
        raise InputError(f"'{path}' is not there; give a mesh, a point cloud, a folder or a CSV table of these")
    if not path.is_dir() and path.suffix.lower() != ".csv":
        yield str(path), path
    else:
        yield from ((str(item.path), item.path) for item in list_files(path))


def _from_array(array: np.ndarray) -> Iterator[tuple[str, PointSet]]:
    if array.ndim not in (2, 3) or array.shape[-1] != 3 or not np.issubdtype(array.dtype, np.number):
        raise InputError(
            f"an array of shape {array.shape} and type {array.dtype} is no cloud; give (N, 3) or (B, N, 3)"
        )
    for row, points in enumerate(array[None] if array.ndim == 2 else array):
        if not np.isfinite(points).all():
            raise InputError(f"cloud {row} has NaN or infinite coordinates")
        yield str(row), PointSet(points.astype(np.float64))


def _from_trimesh(shape: Any) -> Mesh | PointSet:
    if hasattr(shape, "geometry"):  # a scene
        shape = shape.to_geometry() if hasattr(shape, "to_geometry") else shape.dump(concatenate=True)
    faces = getattr(shape, "faces", None)
    vertices = np.asarray(shape.vertices, np.float64)
    return (
        PointSet(vertices) if faces is None or not len(faces) else Mesh(vertices, np.asarray(faces)).check("the mesh")
    )


def _read_all(
    files: Sequence[tuple[str, Path]], num_points: int, seed: int, jobs: int
) -> Iterator[tuple[str, Path, np.ndarray | Failure]]:
    """Reads files, in their order."""
    tasks = [(name, str(path), num_points, seed) for name, path in files]
    results = dict(read_files(read_points, tasks, jobs))
    yield from ((name, path, results[name]) for name, path in files)


def read_files(read: Callable[[Any], Any], tasks: Sequence[Any], jobs: int) -> Iterator[tuple[str, Any]]:
    """Reads files in child processes, each with `TIME_LIMIT` seconds and `MEMORY` bytes, or in this one if jobs is 0.

    Args:
        read: A function of a module, called as read(task).
        tasks: Tuples whose first value is the name of a file.
        jobs: Processes.

    Returns:
        By name what was read, or a `Failure`, in no certain order.
    """
    if not tasks:
        return
    if jobs == 0:
        yield from ((task[0], _read_or_fail(read, task)) for task in tasks)
        return
    with TaskPool(read, min(jobs, len(tasks)), TIME_LIMIT, MEMORY) as pool:
        yield from ((task[0], result) for task, result in pool.run(tasks))


def read_points(task: tuple[str, str, int, int]) -> np.ndarray:
    """(name, path, num_points, seed) -> (N, 3) float32; for child processes."""
    _, path, num_points, seed = task
    return sample_file(Path(path), num_points=num_points, seed=seed).points


def _read_or_fail(read: Callable[[Any], Any], task: Any) -> Any:
    try:
        return read(task)
    except InputError as error:
        return Failure(getattr(error, "cause", "unreadable"), str(error))
