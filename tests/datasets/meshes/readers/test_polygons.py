"""Ear clipping: areas are those of the polygons, concave ones included."""

import numpy as np
import pytest

from pointrecon.datasets.meshes.mesh import MeshError
from pointrecon.datasets.meshes.readers.polygons import triangulate

ARROW = [(0, 0), (2, 0), (0.5, 0.5), (0, 2)]
COMB = [(0, 0), (5, 0), (5, 3), (4, 3), (4, 1), (3, 1), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)]
RING = [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)]  # a hole, bridged
HEXAGON = [(np.cos(a), np.sin(a)) for a in np.arange(6) * np.pi / 3]


def shoelace(points):
    x, y = np.array(points).T
    return abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2


@pytest.mark.parametrize("polygon", [ARROW, COMB, RING, HEXAGON])
@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("shift", range(3))
def test_area_is_kept(polygon, is_reversed, shift):
    polygon = polygon[::-1] if is_reversed else polygon
    polygon = polygon[shift:] + polygon[:shift] if polygon is not RING else polygon
    flat = np.array(polygon)
    points = np.c_[flat, flat @ [0.3, -0.4]]  # tilted
    faces, owners = triangulate(points, [len(points)], np.arange(len(points)))
    corners = points[faces][:, :, :2]
    areas = (
        np.cross(
            np.c_[corners[:, 1] - corners[:, 0], np.zeros(len(faces))],
            np.c_[corners[:, 2] - corners[:, 0], np.zeros(len(faces))],
        )[:, 2]
        / 2
    )
    assert abs(abs(areas).sum() - shoelace(polygon)) < 1e-9 and len(faces) == len(polygon) - 2
    assert (areas > -1e-9).all() or (areas < 1e-9).all()
    assert not owners.any()


def test_order_and_owners_follow_the_polygons():
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [-1, 0.5, 0.0]])
    faces, owners = triangulate(points, [5, 2, 3, 4], [0, 1, 2, 3, 4, 0, 1, 0, 1, 2, 0, 1, 2, 3])
    assert owners.tolist() == [0, 0, 0, 2, 3, 3] and faces[3].tolist() == [7, 8, 9]


def test_bad_corners_are_refused():
    with pytest.raises(MeshError, match="not among its 3"):
        triangulate(np.zeros((3, 3)), [3], [0, 1, 3], "m")
    with pytest.raises(MeshError, match="corners"):
        triangulate(np.zeros((3, 3)), [5000], np.zeros(5000), "m")
