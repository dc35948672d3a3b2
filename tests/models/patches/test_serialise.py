"""Patches along a Z-curve."""

import torch

from pointrecon.models.patches.serialise import morton_order


def test_the_curve_goes_through_the_octants_in_order():
    corners = torch.tensor([[x, y, z] for z in (0.0, 1) for y in (0, 1) for x in (0, 1)]).unsqueeze(0)
    order = torch.randperm(8)
    assert torch.equal(corners[0, order][morton_order(corners[:, order])[0]], corners[0])


def test_neighbours_on_the_curve_are_near():
    centers = torch.rand(10, 64, 3)
    ordered = centers.gather(1, morton_order(centers).unsqueeze(-1).expand(-1, -1, 3))
    steps = [(x[:, 1:] - x[:, :-1]).norm(dim=-1).mean() for x in (centers, ordered)]
    assert steps[1] < 0.6 * steps[0]


def test_size_and_place_do_not_matter():
    centers = torch.rand(3, 32, 3)
    assert torch.equal(morton_order(centers), morton_order(4 * centers + 16))


def test_equal_patches_stay_in_the_order_of_their_index():
    assert torch.equal(morton_order(torch.ones(2, 5, 3)), torch.arange(5).expand(2, -1))
