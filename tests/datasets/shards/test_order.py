"""The order of an epoch over shards."""

import numpy as np
import pytest

from pointrecon.datasets.shards.order import epoch_order

COUNTS = [50] * 20 + [13]


@pytest.mark.parametrize("num_lanes", [1, 6, 7, 2000])
def test_every_sample_once(num_lanes):
    order = epoch_order(COUNTS, num_lanes, 30, 0, 0)
    assert sorted(order.tolist()) == list(range(1013))


def test_seed_and_epoch_decide():
    first = epoch_order(COUNTS, 6, 30, 1, 2)
    assert np.array_equal(first, epoch_order(COUNTS, 6, 30, 1, 2))
    assert not np.array_equal(first, epoch_order(COUNTS, 6, 30, 1, 3))
    assert not np.array_equal(first, epoch_order(COUNTS, 6, 30, 2, 2))


def test_processes_read_different_shards_near_where_they_are():
    order = epoch_order(COUNTS, 6, 30, 0, 0)
    for world_size in (2, 3):
        shards = [set((order[rank::world_size] // 50).tolist()) for rank in range(world_size)]
        shared = sum(len(shards[i] & shards[j]) for i in range(world_size) for j in range(i))
        assert shared <= 6  # where a lane ends in the middle of a shard
    lane = order[::6]
    assert len(set((lane[:30] // 50).tolist())) <= 3  # 30 samples and 30 in the buffer
    assert (np.diff(lane) != 1).mean() > 0.8  # but shuffled
