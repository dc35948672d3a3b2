"""The order of an epoch over shards: close to that in which they lie on the disk, and yet shuffled.

Shape legend: n samples, L lanes.
"""

from collections.abc import Sequence

import numpy as np


def epoch_order(counts: Sequence[int], num_lanes: int, buffer: int, seed: int, epoch: int) -> np.ndarray:
    """Every sample once, in an order that (seed, epoch) decide alone.

    The shards are shuffled and laid end to end, and what they make is cut into L lanes of one length. Each lane is
    read through a shuffle buffer, and sample i of the epoch is the next one of lane i mod L. Process r of N has the
    samples r, r + N, ... of the epoch: if N divides L, these are whole lanes, so that processes read different shards.

    Args:
        counts: samples of each shard.
        num_lanes: L.
        buffer: how many samples of its lane a sample may move ahead of.
        seed: of the run.
        epoch: from 0.

    Returns:
        (n,) int64, numbers of samples in the order of the shards.
    """
    random = np.random.RandomState((seed * 1_000_003 + epoch) % (1 << 32))
    starts = np.concatenate([[0], np.cumsum(counts)])
    order = np.concatenate([np.arange(starts[shard], starts[shard + 1]) for shard in random.permutation(len(counts))])
    total = len(order)
    num_lanes = min(num_lanes, total)
    result, begin = np.empty(total, dtype=np.int64), 0
    for lane in range(num_lanes):
        part = order[begin : begin + total // num_lanes + (lane < total % num_lanes)]
        begin += len(part)
        # What waits in the buffer for a random time below its size.
        result[lane::num_lanes] = part[np.argsort(np.arange(len(part)) + buffer * random.random_sample(len(part)))]
    return result
