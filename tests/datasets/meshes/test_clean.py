"""Cleaning: what is mended, and what is refused under which cause."""

import numpy as np
import pytest

from pointrecon.datasets.meshes import clean as module
from pointrecon.datasets.meshes.clean import clean, count_parts, face_areas, thickness
from pointrecon.datasets.meshes.mesh import Mesh, MeshError, merge


def cause_of(mesh):
    with pytest.raises(MeshError) as caught:
        clean(mesh, "thing")
    assert "thing" in str(caught.value)
    return caught.value.cause


def test_fits_the_box_and_keeps_the_proportions(box):
    mesh = clean(box((10, 20, 30), (14, 22, 31)), "thing")
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [1, 0.5, 0.25], atol=1e-12)
    np.testing.assert_allclose(mesh.vertices.min(0), [-0.5, -0.25, -0.125], atol=1e-12)


def test_merges_vertices_and_drops_copies_and_slivers(box):
    mesh = box((0, 0, 0), (1, 1, 1))
    colors = np.linspace(0, 1, 36).reshape(12, 3)
    loose = Mesh(np.concatenate([mesh.vertices[mesh.faces].reshape(-1, 3), [[99, 99, 99]]]), np.arange(36), None)
    loose.colors = colors.astype(np.float32)
    flipped = Mesh(loose.vertices, np.concatenate([loose.faces, loose.faces[:, ::-1], [[0, 0, 1], [0, 1, 36]]]))
    flipped.colors = np.concatenate([loose.colors, loose.colors * 0, np.zeros((2, 3))]).astype(np.float32)
    flipped.faces[-1, 2] = 1
    cleaned = clean(flipped, "thing")
    assert cleaned.vertices.shape == (8, 3) and len(cleaned.faces) == 12
    np.testing.assert_array_equal(cleaned.colors, loose.colors)
    np.testing.assert_allclose(face_areas(cleaned), 0.5, atol=1e-6)


def test_refuses_what_is_no_shape(box):
    cube = box((0, 0, 0), (1, 1, 1))
    assert cause_of(Mesh(cube.vertices, cube.faces[:11])) == "few faces"
    assert cause_of(Mesh(np.ones((8, 3)), cube.faces)) == "no area"
    assert cause_of(box((0, 0, 0), (1, 0.003, 1))) == "flat"
    assert cause_of(box((0, 0, 0), (1, 0.004, 0.004))) == "flat"
    broken = box((0, 0, 0), (1, 1, 1))
    broken.vertices[3, 1] = np.nan
    assert cause_of(broken) == "not finite"
    assert clean(box((0, 0, 0), (1, 0.05, 1)), "a tray") is not None


def test_refuses_scenes(box, monkeypatch):
    parts = merge([box((i, 0, 0), (i + 0.5, 1, 1)) for i in range(5)])
    assert count_parts(parts) == 5 and len(clean(parts, "thing").faces) == 60
    monkeypatch.setattr(module, "MAX_PARTS", 4)
    assert cause_of(parts) == "scene"
    monkeypatch.setattr(module, "MAX_FACES", 59)
    assert cause_of(parts) == "scene"


def test_thickness_is_that_of_the_surface_whichever_way_it_is_turned(box):
    # A cube's surface has the same spread in all directions; a plate's is that of its sides.
    assert thickness(box((0, 0, 0), (1, 1, 1))) == pytest.approx(1)
    plate = box((0, 0, 0), (1, 0.1, 1))
    random = np.random.RandomState(0)
    points = np.concatenate([random.rand(10**5, 3) * [1, 0, 1] + [0, 0.1 * side, 0] for side in (0, 1)])
    edge = random.rand(10**4, 3) * [0, 0.1, 1]
    points = np.concatenate([points, edge, edge + [1, 0, 0], edge[:, ::-1] * 1, edge[:, ::-1] + [0, 0, 1]])
    points[220000:, 1] = np.tile(edge[:, 1], 2)
    spread = points.std(0)
    assert thickness(plate) == pytest.approx(spread[1] / spread[0], rel=0.02)
    turn = np.linalg.qr(random.randn(3, 3))[0]
    assert thickness(plate.transformed(turn)) == pytest.approx(thickness(plate))
