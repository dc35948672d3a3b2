"""Points on a mesh: evenly by area, in the unit sphere, farthest points first.

Shape legend: F faces, N points.
"""

import hashlib

import numpy as np
import torch

from pointrecon.datasets.meshes.clean import face_areas
from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.extensions import ops

NUM_POINTS = 8192


def random_of(key: str) -> np.random.RandomState:
    """Random numbers that depend on the key alone and are the same with every version of numpy."""
    return np.random.RandomState(int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big"))


def sample_surface(mesh: Mesh, num_points: int, random: np.random.RandomState) -> np.ndarray:
    """Returns (N, 3) float64 points of the surface; a face gets as many as its area is worth, give or take one.

    Args:
        mesh: With some area.
        num_points: N.
        random: Draws them.

    Raises:
        MeshError: The mesh has no area.
    """
    return sample_faces(mesh, num_points, random)[0]


def sample_faces(mesh: Mesh, num_points: int, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """The same points, and the face (N,) that each lies on."""
    ends = np.cumsum(face_areas(mesh))
    if not len(ends) or not ends[-1] > 0:
        raise MeshError("a mesh without area has no points to sample", "no area")
    # One draw in each of N equal parts of the area: closer to even than N free draws.
    places = (np.arange(num_points) + random.random_sample(num_points)) / num_points * ends[-1]
    faces = np.minimum(np.searchsorted(ends, places, side="right"), len(ends) - 1)
    root, along = np.sqrt(random.random_sample((num_points, 1))), random.random_sample((num_points, 1))
    a, b, c = (mesh.vertices[mesh.faces[faces, corner]] for corner in range(3))
    return (1 - root) * a + root * (1 - along) * b + root * along * c, faces


def make_cloud(mesh: Mesh, key: str, num_points: int = NUM_POINTS) -> tuple[np.ndarray, float]:
    """Samples a mesh.

    Args:
        mesh: Cleaned.
        key: The only thing that the draw depends on.
        num_points: N.

    Returns:
        (N, 3) float16 points, centred on their mean, the farthest at distance 1, in the order of farthest point
        sampling (which holds exactly for the rounded numbers); and the surface's area at that scale.

    Raises:
        MeshError: The mesh has no area.
    """
    random = random_of(key)
    points = sample_surface(mesh, num_points, random)
    points = points - points.mean(0)
    radius = float(np.sqrt((points**2).sum(1).max()))
    rounded = (points[random.permutation(num_points)] / radius).astype(np.float16)
    cloud = torch.from_numpy(rounded.astype(np.float32))[None]
    order = ops.fps(cloud, num_points)[0].numpy()
    return rounded[order], float(face_areas(mesh).sum() / radius**2)
