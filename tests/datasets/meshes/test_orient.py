"""Axes: rotations without reflection, and what each one calls up and front goes to +y and +z."""

import numpy as np
import pytest

from pointrecon.datasets.meshes.orient import AXES


@pytest.mark.parametrize("name", AXES)
def test_up_and_front_go_where_they_belong(name):
    turn = AXES[name]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)
    up = np.eye(3)["xyz".index(name[0])]
    np.testing.assert_allclose(turn @ up, [0, 1, 0])
    if "front" in name:
        front = np.eye(3)["xyz".index(name[-1])] * (1 if name[-2] == "+" else -1)
        np.testing.assert_allclose(turn @ front, [0, 0, 1])
