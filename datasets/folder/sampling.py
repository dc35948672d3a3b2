"""One file to a cloud of a fixed number of points: what the network sees, and what a cache keeps.

Shape legend: N points.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pointrecon.datasets.folder.reading import PointSet, read_geometry
from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.datasets.meshes.sampling import random_of, sample_faces
from pointrecon.extensions import ops

MIN_POINTS = 16  # of a point cloud; fewer show no shape
OVERSAMPLE = 4  # points drawn for each one that farthest point sampling keeps


@dataclass
class SampledFile:
    """A file as a cloud.

    Attributes:
        points: (N, 3) float32 in the file's axes, centred on their mean, the farthest at distance 1; each first k of
            them are the k farthest from each other.
        colors: (N, 3) uint8, or None.
        kind: mesh or points.
        center: (3,) float64, what was subtracted, in the file's units.
        scale: What it was divided by.
    """

    points: np.ndarray
    colors: np.ndarray | None
    kind: str
    center: np.ndarray
    scale: float


def sample_file(path: Path, *, num_points: int, seed: int = 0) -> SampledFile:
    """Reads a file and samples it: evenly by area from faces, farthest points first.

    Args:
        path: A mesh or a point cloud.
        num_points: N. A cloud with fewer points has some of them several times.
        seed: Of the draw, which depends on nothing else.

    Raises:
        MeshError: It cannot be read, has fewer than MIN_POINTS points, or no extent.
    """
    geometry = read_geometry(path, max_points=max(OVERSAMPLE * num_points, 1 << 16), seed=seed)
    return sample_geometry(geometry, num_points=num_points, seed=seed, name=str(path))


def sample_geometry(geometry: Mesh | PointSet, *, num_points: int, seed: int = 0, name: str = "shape") -> SampledFile:
    """The same for geometry that has been read; `name` is for messages."""
    random = random_of(f"cloud {seed}")
    if isinstance(geometry, Mesh):
        points, faces = sample_faces(geometry, OVERSAMPLE * num_points, random)
        colors = None if geometry.colors is None else geometry.colors[faces]
        kind = "mesh"
    else:
        points, colors, kind = geometry.points, geometry.colors, "points"
        if len(points) < MIN_POINTS:
            raise MeshError(f"'{name}' has {len(points)} points, but a shape needs at least {MIN_POINTS}", "few points")
        if len(points) > OVERSAMPLE * num_points:
            rows = np.sort(random.permutation(len(points))[: OVERSAMPLE * num_points])
            points, colors = points[rows], None if colors is None else colors[rows]
    center = points.mean(0)
    points = points - center
    scale = float(np.sqrt((points**2).sum(1).max()))
    if not scale > 1e-12 * max(1.0, float(np.abs(center).max())):
        raise MeshError(f"'{name}' has no extent: all of its points lie in one place", "no extent")
    rows = _farthest_first(points / scale, num_points, random)
    points, colors = points[rows], None if colors is None else colors[rows]
    # Once more for the points that are left: the network's contract is exact for them.
    shift = points.mean(0)
    points = points - shift
    radius = float(np.sqrt((points**2).sum(1).max()))
    rgb = None if colors is None else np.round(np.clip(colors, 0, 1) * 255).astype(np.uint8)
    return SampledFile((points / radius).astype(np.float32), rgb, kind, center + shift, radius)


def _farthest_first(points: np.ndarray, num_points: int, random: np.random.RandomState) -> np.ndarray:
    """(N,) rows; where there are too few points, each comes about equally often."""
    cloud = torch.from_numpy(points.astype(np.float32))[None]
    rows = ops.fps(cloud, min(num_points, len(points)))[0].numpy()
    if len(rows) < num_points:
        more = [random.permutation(len(rows)) for _ in range(num_points // len(rows))]
        rows = np.concatenate([rows, *(rows[order] for order in more)])[:num_points]
    return rows
