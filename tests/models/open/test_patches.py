"""Balls and the sampling that stays off the centre, against plain loops."""

import pytest
import torch

from pointrecon.extensions import ops
from pointrecon.models.open.patches import BallPatches, NearestPatches, ball_query, fps_off_centre
from pointrecon.utils.errors import InputError


@pytest.fixture
def cloud():
    return torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("count", [3, 12, 60])
def test_balls_take_the_first_points_by_index_and_repeat_the_first(cloud, count):
    centers = cloud[:, 7:15]
    found = ball_query(cloud, centers, 0.6, count)
    assert found.shape == (2, 8, count)
    for b in range(2):
        for g in range(8):
            within = [n for n in range(50) if (cloud[b, n] - centers[b, g]).square().sum() <= 0.36][:count]
            assert found[b, g].tolist() == within + within[:1] * (count - len(within))


def test_balls_do_not_depend_on_how_they_are_cut(cloud, monkeypatch):
    whole = ball_query(cloud, cloud[:, :20], 0.5, 8)
    monkeypatch.setattr("pointrecon.models.open.patches._SLAB", 300)
    assert torch.equal(ball_query(cloud, cloud[:, :20], 0.5, 8), whole)


def test_sampling_never_picks_points_at_the_centre_after_the_first(cloud):
    cloud[:, 20:30] *= 0.01
    index = fps_off_centre(cloud, 40)
    assert (index[:, 0] == 0).all() and not ((index >= 20) & (index < 30)).any()
    assert ((ops.fps(cloud, 49) >= 20) & (ops.fps(cloud, 49) < 30)).any()
    far = cloud[:, :20].contiguous()
    assert torch.equal(fps_off_centre(far, 10), ops.fps(far, 10))


def test_too_few_points_and_missing_colours_are_told(cloud):
    with pytest.raises(InputError, match="need at least 64"):
        NearestPatches((8, 16, 16, 8), 64, 4)(torch.zeros(1, 50, 6))
    with pytest.raises(InputError, match="xyz and rgb"):
        BallPatches((8, 16), 8, 4, 0.3)(cloud)
