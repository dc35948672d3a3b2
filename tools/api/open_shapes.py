"""What users hand to an open-vocabulary encoder, as clouds with colours whose points stay in their order.

Shape legend: N points.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pointrecon.datasets.folder.reading import PointSet, read_geometry
from pointrecon.datasets.folder.sampling import MIN_POINTS
from pointrecon.datasets.meshes.mesh import Mesh
from pointrecon.datasets.meshes.sampling import random_of, sample_faces
from pointrecon.shapes import Shapes, _flatten, read_files
from pointrecon.utils.errors import InputError
from pointrecon.utils.processes.pool import Failure


@dataclass
class RawCloud:
    """A shape as it was given.

    Attributes:
        points: (N, 3) float64 in its own axes and units.
        colors: (N, 3), or None.
        suffix: Of its file.
    """

    points: np.ndarray
    colors: np.ndarray | None
    suffix: str = ""


def read_clouds(
    shapes: Shapes, colors: Any, *, num_points: int, seed: int = 0, jobs: int = 1
) -> tuple[list[str], list[RawCloud], dict[str, str]]:
    """Reads whatever was given.

    Args:
        shapes: As for `OpenModel.embed`.
        colors: As for `OpenModel.embed`.
        num_points: Points that are drawn from a mesh.
        seed: Of that draw.
        jobs: As for `to_clouds`.

    Returns:
        Names, clouds, and why what was skipped was.

    Raises:
        InputError: Something of an unknown type or shape, or colours for another number of shapes.
    """
    given = list(_flatten(shapes))
    painted = _spread(colors, len(given))
    names, clouds, skipped = [], [], {}
    files = [(name, str(item), num_points, seed) for name, item in given if isinstance(item, Path)]
    read = dict(read_files(read_raw, files, jobs))
    for (name, item), paint in zip(given, painted, strict=True):
        found = read[name] if isinstance(item, Path) else sample_raw(item, num_points, seed, name)
        if isinstance(found, Failure):
            skipped[name] = found.message
            continue
        if paint is not None:
            found.colors = paint
        names.append(name)
        clouds.append(found)
    return names, clouds, skipped


def _spread(colors: Any, count: int) -> list[np.ndarray | None]:
    """The colours of each shape."""
    if colors is None:
        return [None] * count
    if isinstance(colors, Tensor):
        colors = colors.detach().cpu().numpy()
    if isinstance(colors, np.ndarray) and colors.ndim == 2:
        colors = colors[None]
    found = [None if one is None else np.asarray(one) for one in colors]
    if len(found) != count:
        raise InputError(f"colours are given for {len(found)} shapes, but there are {count}; give one array a shape")
    return found


def read_raw(task: tuple[str, str, int, int]) -> RawCloud:
    """(name, path, num_points, seed) -> a cloud with the colours of its file; for child processes."""
    name, path, num_points, seed = task
    geometry = read_geometry(Path(path), max_points=max(num_points, 1 << 16), seed=seed)
    found = sample_raw(geometry, num_points, seed, name)
    found.suffix = Path(path).suffix
    return found


def sample_raw(geometry: Mesh | PointSet, num_points: int, seed: int, name: str) -> RawCloud:
    """Points evenly by area from a mesh, in random order as in training; those of a cloud as they are."""
    if isinstance(geometry, Mesh):
        random = random_of(f"open {seed}")
        points, faces = sample_faces(geometry, num_points, random)
        order = random.permutation(num_points)
        colors = None if geometry.colors is None else np.clip(geometry.colors[faces][order], 0, 1)
        return RawCloud(points[order], colors)
    if len(geometry.points) < MIN_POINTS:
        raise InputError(f"'{name}' has {len(geometry.points)} points, but a shape needs at least {MIN_POINTS}")
    colors = None if geometry.colors is None else np.clip(geometry.colors, 0, 1)
    return RawCloud(geometry.points, colors)
