"""Turning the axes of a source's files to ours: y up and, where the source has a convention, front +z."""

import numpy as np

AXES: dict[str, np.ndarray] = {
    # x right, y up, z towards the viewer: as it is
    "y": np.eye(3),
    # z up: (x, y, z) -> (x, z, -y), a quarter turn about x
    "z": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
    # y up, front -z: half a turn about y
    "y, front -z": np.diag([-1.0, 1.0, -1.0]),
    # y up, front +x: a quarter turn about y
    "y, front +x": np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
    # z up, front +y: half a turn about the vertical more than "z"
    "z, front +y": np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
}
