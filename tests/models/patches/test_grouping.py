"""Point patches."""

import pytest
import torch

from pointrecon.models.patches.grouping import PointGroup
from pointrecon.utils.errors import InputError


def test_patches_are_the_nearest_points_minus_the_centre(points):
    patches, centers = PointGroup(6, 7)(points)
    assert patches.shape == (4, 6, 7, 3) and centers.shape == (4, 6, 3)
    assert torch.equal(centers[:, 0], points[:, 0])
    for cloud, found, middle in zip(points, patches.flatten(0, 1).split(6), centers, strict=True):
        for patch, center in zip(found, middle, strict=True):
            assert (cloud == center).all(dim=1).any()
            distance = (cloud - center).square().sum(dim=1)
            torch.testing.assert_close(patch, (cloud - center)[distance.argsort()[:7]])
            assert not patch[0].any()  # the centre's own point comes first


def test_centres_lie_far_apart():
    corners = torch.tensor([[x, y, z] for x in (0.0, 9) for y in (0.0, 9) for z in (0.0, 9)])
    cloud = torch.cat([corners + 0.1 * shift for shift in torch.rand(10, 1, 3)])  # ten points at each corner
    _, centers = PointGroup(8, 4)(cloud.unsqueeze(0))
    assert len({tuple(row) for row in (centers[0] / 9).round().tolist()}) == 8


def test_as_many_points_as_needed_are_enough(points):
    patches, _ = PointGroup(5, 8)(points[:, :8])
    assert patches.shape == (4, 5, 8, 3)


@pytest.mark.parametrize(("num_groups", "group_size"), [(9, 4), (4, 9)])
def test_too_few_points_are_refused(points, num_groups, group_size):
    with pytest.raises(InputError, match="have 8 points.*at least 9.*data.num_points"):
        PointGroup(num_groups, group_size)(points[:, :8])
