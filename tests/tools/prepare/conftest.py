"""A folder of clouds of two classes with near copies among them."""

import numpy as np
import pytest

STRETCH = {"plate": [1, 0.1, 0.8], "rod": [0.1, 1, 0.1]}


def surface(seed, stretch, num=128):
    """Points on a stretched sphere with a bump that differs by seed."""
    random = np.random.RandomState(seed)
    points = random.randn(num, 3)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points * stretch


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    """Six clouds a class, each of other proportions, and a copy of the first of each under another name."""
    root = tmp_path_factory.mktemp("own") / "shapes"
    for name, stretch in STRETCH.items():
        (root / name).mkdir(parents=True)
        for row in range(6):
            wide = np.array(stretch) * [1, 1, 1 + 0.5 * row] + [0.12 * row, 0, 0]
            cloud = surface(row, wide)
            np.savetxt(root / name / f"{name} no{row}.xyz", cloud)
            if row == 0:
                np.savetxt(root / name / f"{name} again.xyz", cloud[::-1] * 3 + 5)
    (root / "rod" / "broken.ply").write_bytes(b"ply\n")
    return root
