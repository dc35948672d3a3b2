"""Clouds that are hard for point operations. Each test that asks for `cloud` runs on all of them."""

import numpy as np
import pytest
import torch


def _random(batch, num_points, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, num_points, 3)).astype(np.float32)


def _lattice(batch, side):
    """All points of a grid, shuffled: nearly every distance occurs many times."""
    axis = np.arange(side, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    return np.stack([np.random.default_rng(seed).permutation(grid) for seed in range(batch)])


CLOUDS = {
    "one point": _random(2, 1),
    "two points": _random(1, 2),
    "random": _random(3, 70),
    "each point four times": np.tile(_random(2, 12), (1, 4, 1)),
    "all points equal": np.full((2, 9, 3), 0.3, dtype=np.float32),
    "lattice": _lattice(2, 4),
    "on a line": _random(2, 40) * np.array([1, 0, 0], dtype=np.float32),
    "far from the origin": _random(2, 60) + 1000,
    "large": _random(2, 50) * 1000,
    "small": _random(2, 50) / 1000,
}


@pytest.fixture(params=CLOUDS, ids=lambda name: name.replace(" ", "-"))
def cloud(request):
    """(B, N, 3) float32."""
    return torch.from_numpy(CLOUDS[request.param].copy())


@pytest.fixture
def clouds():
    """All of them in one list."""
    return [torch.from_numpy(cloud.copy()) for cloud in CLOUDS.values()]
