"""Small meshes with known measures."""

import numpy as np
import pytest

from pointrecon.datasets.meshes.mesh import Mesh, merge


def make_box(low, high):
    """12 triangles."""
    low, high = np.array(low, float), np.array(high, float)
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (high - low) + low
    sides = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Mesh(corners, np.array([face for a, b, c, d in sides for face in ((a, b, c), (a, c, d))]))


def make_chair(legs=0.45):
    """A seat, a back towards -z and four legs."""
    parts = [make_box((0, legs, 0), (0.5, legs + 0.05, 0.5)), make_box((0, legs, 0), (0.5, 1, 0.05))]
    parts += [make_box((x, 0, z), (x + 0.04, legs, z + 0.04)) for x in (0, 0.46) for z in (0, 0.46)]
    return merge(parts)


@pytest.fixture
def box():
    return make_box


@pytest.fixture
def chair():
    return make_chair
