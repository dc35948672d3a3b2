"""Order, positions and masks of the causal variant, against plain loops."""

import math

import torch

from pointrecon.models.reconpp.order import (
    CausalSplit,
    causal_mask,
    chain_directions,
    chain_order,
    num_hidden,
    sine_positions,
    triangle,
)


def centers(batch=3, groups=17, seed=0):
    return torch.randn(batch, groups, 3, generator=torch.Generator().manual_seed(seed))


def test_the_chain_goes_to_the_nearest_that_is_left():
    cloud = centers()
    for row, order in zip(cloud, chain_order(cloud).tolist(), strict=True):
        left, chain = list(range(1, len(row))), [0]
        while left:
            chain.append(min(left, key=lambda other: float((row[other] - row[chain[-1]]).norm())))
            left.remove(chain[-1])
        assert order == chain


def test_equal_distances_go_to_the_lowest_number():
    row = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0]]])
    assert chain_order(row).tolist() == [[0, 1, 3, 2]]


def test_all_channels_of_an_axis_have_one_frequency_and_the_rest_is_zero():
    cloud = centers(1, 2)
    for dim, pairs in ((20, 3), (384, 64), (1024, 170), (1408, 234)):
        embedded = sine_positions(cloud, dim)
        assert embedded.shape == (1, 2, dim) and not embedded[..., 6 * pairs :].any()
        x, y = (float(cloud[0, 1, axis]) for axis in (0, 1))
        for place, value in ((0, math.sin(2 * math.pi * x)), (1, math.cos(2 * math.pi * x))):
            torch.testing.assert_close(embedded[0, 1, place : 2 * pairs : 2], torch.full((pairs,), value))
        torch.testing.assert_close(embedded[0, 1, 2 * pairs], torch.tensor(math.sin(2 * math.pi * y)))


def test_directions_are_unit_vectors_behind_the_first_centre():
    cloud = centers()
    directions = chain_directions(cloud)
    assert torch.equal(directions[:, 0], cloud[:, 0])
    torch.testing.assert_close(directions[:, 1:].norm(dim=-1), torch.ones(3, 16), rtol=0, atol=1e-3)


def test_the_mask_hides_what_comes_later_and_the_drawn_columns_but_for_themselves():
    cloud = centers(2, 64)
    count = num_hidden(64, 0.7)
    assert count == 37 and num_hidden(10, 0.7) == num_hidden(4, 0.7) == 0
    split = causal_mask(cloud, count, torch.Generator().manual_seed(0))
    mask = split.attention
    drawn = [column for column in range(63) if mask[-1, column]]  # the last one hides from nobody behind it
    assert all(column >= 10 for column in drawn) and len(drawn) in (count, count - 1)
    for row in range(64):
        for column in range(64):
            assert bool(mask[row, column]) == (column > row or (column in drawn and column != row))
    other = causal_mask(cloud, count, torch.Generator().manual_seed(1)).attention
    assert not torch.equal(mask, other) and not mask.diagonal().any()


def test_without_columns_it_is_the_triangle_and_pictures_show_every_patch():
    split = causal_mask(centers(2, 8), 0)
    assert torch.equal(split.attention, triangle(8, torch.device("cpu")))
    assert isinstance(split, CausalSplit) and split.to_mask().shape == (2, 8) and split.to_mask().all()
