"""Points of a surface: as many as the area is worth, on the surface, the same for the same key."""

import numpy as np
import pytest
import torch

from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.datasets.meshes.sampling import make_cloud, random_of, sample_surface
from pointrecon.extensions import ops


def test_points_lie_on_the_faces_evenly_by_area(box):
    points = sample_surface(box((0, 0, 0), (1, 2, 3)), 4400, np.random.RandomState(0))
    sizes = np.array([1, 2, 3])
    at_side = (np.abs(points) < 1e-9) | (np.abs(points - sizes) < 1e-9)
    assert at_side.any(1).all()
    np.testing.assert_allclose(at_side.sum(0), [2 * 6 * 200, 2 * 3 * 200, 2 * 2 * 200], atol=4)
    top = points[at_side[:, 1]]
    assert abs(top[:, 0].mean() - 0.5) < 0.03 and abs(top[:, 2].mean() - 1.5) < 0.06, "even within a face"


def test_a_cloud_is_in_the_unit_sphere_farthest_points_first(chair):
    points, area = make_cloud(chair(), "chair", 1024)
    assert points.dtype == np.float16 and points.shape == (1024, 3)
    wide = points.astype(np.float32)
    np.testing.assert_allclose(wide.mean(0), 0, atol=2e-3)
    assert np.sqrt((wide**2).sum(1)).max() == pytest.approx(1, abs=1e-3)
    assert ops.fps(torch.from_numpy(wide)[None], 1024)[0].tolist() == list(range(1024))
    bigger = chair().transformed(np.eye(3) * 7)
    assert make_cloud(bigger, "chair", 1024)[1] == pytest.approx(area), "the area is that at the points' scale"


def test_depends_on_the_key_alone(chair):
    first = make_cloud(chair(), "a", 256)[0]
    np.random.seed(1)
    torch.manual_seed(1)
    np.testing.assert_array_equal(make_cloud(chair(), "a", 256)[0], first)
    assert (make_cloud(chair(), "b", 256)[0] != first).any()
    assert random_of("a").randint(1 << 30) == np.random.RandomState(0xCA978112).randint(1 << 30)


def test_refuses_a_mesh_without_area():
    with pytest.raises(MeshError, match="no points to sample") as caught:
        sample_surface(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])), 8, np.random.RandomState(0))
    assert caught.value.cause == "no area"
