"""Which patches are hidden."""

import pytest
import torch

from pointrecon.models.patches.masking import MASKS, block_mask, num_masked, random_mask, split_of_mask, take_groups
from pointrecon.utils.errors import InputError

DRAWN = {"random": [[1, 2, 4], [0, 3, 5]], "block": [[1, 3, 4], [1, 2, 5]]}


@pytest.mark.parametrize(
    ("num_groups", "ratio", "count"), [(64, 0.6, 38), (32, 0.6, 19), (64, 0.9, 57), (10, 0.1, 1), (2, 0.5, 1)]
)
def test_published_count(num_groups, ratio, count):
    assert num_masked(num_groups, ratio) == count


@pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (0.09, 0), (1.0, 10), (1.5, 15), (-0.5, -5)])
def test_nothing_or_everything_masked_is_refused(ratio, count):
    with pytest.raises(InputError, match=f"mask_ratio {ratio} masks {count} of 10 groups"):
        num_masked(10, ratio)


@pytest.mark.parametrize("draw", MASKS.values(), ids=MASKS.keys())
class TestEveryMask:
    def test_hides_the_same_number_in_each_sample(self, draw):
        split = draw(torch.randn(50, 11, 3), 4)
        assert split.visible.shape == (50, 7) and split.masked.shape == (50, 4)
        assert torch.equal(torch.cat(split, dim=1).sort(dim=1).values, torch.arange(11).expand(50, -1))

    def test_numbers_are_in_the_order_of_the_groups(self, draw):
        for groups in draw(torch.randn(50, 11, 3), 4):
            assert torch.equal(groups, groups.sort(dim=1).values)

    def test_samples_differ(self, draw):
        split = draw(torch.randn(1, 11, 3).expand(50, -1, -1), 4)
        assert len(split.masked.unique(dim=0)) > 5

    def test_hides_each_group_at_times(self, draw):
        assert len(draw(torch.randn(200, 11, 3), 4).masked.unique()) == 11

    def test_follows_its_generator(self, draw):
        centers = torch.randn(20, 11, 3)
        first, again, other = (draw(centers, 4, torch.Generator().manual_seed(seed)).masked for seed in (3, 3, 4))
        assert torch.equal(first, again) and not torch.equal(first, other)


def test_random_mask_is_uniform():
    share = random_mask(torch.zeros(8000, 10, 3), 6).to_mask().float().mean(dim=0)
    torch.testing.assert_close(share, torch.full((10,), 0.6), rtol=0, atol=0.025)  # 4.5 standard deviations


def test_block_mask_hides_the_nearest_to_one_of_the_centres():
    centers = torch.randn(60, 12, 3)
    for sample, masked in zip(centers, block_mask(centers, 5).masked, strict=True):
        blocks = [set((sample - seed).norm(dim=1).argsort()[:5].tolist()) for seed in sample]
        assert set(masked.tolist()) in blocks


def test_block_mask_starts_from_every_centre():
    line = torch.zeros(300, 8, 3)
    line[:, :, 0] = torch.arange(8.0) ** 2  # with one masked group, it is the seed itself
    assert len(block_mask(line, 1).masked.unique()) == 8


@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 5), (3, 6, 2, 3)])
def test_a_split_keeps_the_order_of_the_groups(shape):
    x = torch.randn(shape)
    mask = torch.tensor([[1, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 1], [1, 1, 1, 0, 0, 0]], dtype=torch.bool)
    split = split_of_mask(mask)
    for groups, flags in ((split.visible, ~mask), (split.masked, mask)):
        wanted = torch.stack([sample[own] for sample, own in zip(x, flags, strict=True)])
        assert torch.equal(take_groups(x, groups), wanted)
    assert torch.equal(split.to_mask(), mask)


@pytest.mark.parametrize("name", MASKS)
def test_draws_are_those_of_the_first_version(name):
    """Runs of the same seed hide the same patches for ever."""
    centers = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    masked = MASKS[name](centers, 3, torch.Generator().manual_seed(1)).masked.tolist()
    assert masked == DRAWN[name]
