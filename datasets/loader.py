"""Batches of a data set: which samples, in which order, for which process."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from utils.errors import InputError


class ShardSampler(Sampler[int]):
    """Indices of one process. Their order depends on the seed and the epoch alone, so a run can resume anywhere.

    Args:
        size: number of samples in the data set.
        is_shuffled: training order, a permutation anew for each epoch; otherwise the order of the data set.
        seed: of the permutations.
        rank: number of this process.
        world_size: number of processes. In training the last `size % world_size` samples of an epoch are left out, so
            that all processes make the same number of steps; in evaluation nothing is left out and nothing repeated.
    """

    def __init__(self, size: int, is_shuffled: bool, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.size = size
        self.is_shuffled = is_shuffled
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.skip = 0  # samples of this process to leave out at the start of the next epoch; then 0 again

    def __len__(self) -> int:
        if self.is_shuffled:
            return self.size // self.world_size
        return len(range(self.rank, self.size, self.world_size))

    def __iter__(self) -> Iterator[int]:
        if not self.is_shuffled:
            return iter(range(self.rank, self.size, self.world_size))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.size, generator=generator).tolist()
        mine = order[self.rank : len(self) * self.world_size : self.world_size]
        skip, self.skip = self.skip, 0
        return iter(mine[skip:])


def train_loader(
    dataset: Dataset,
    batch_size: int,
    num_workers: int = 0,
    drop_last: bool = False,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader:
    """Shuffled batches of `batch_size` samples for this process; `loader.sampler.epoch` says which permutation.

    Raises:
        InputError: the data set is smaller than a batch of all processes together.
    """
    total = batch_size * world_size
    if total > len(dataset):
        raise InputError(
            f"batch_size is {total}, but the training split has {len(dataset)} shapes; give batch_size={len(dataset)} "
            "or less"
        )
    sampler = ShardSampler(len(dataset), True, seed, rank, world_size)
    # A last batch of one sample has no batch statistics.
    drop_last = drop_last or len(sampler) % batch_size == 1
    return _make(dataset, batch_size, sampler, num_workers, drop_last)


def eval_loader(
    dataset: Dataset, batch_size: int, num_workers: int = 0, rank: int = 0, world_size: int = 1
) -> DataLoader:
    """Every sample once, in the order of the data set, this process's share of them."""
    return _make(dataset, batch_size, ShardSampler(len(dataset), False, 0, rank, world_size), num_workers, False)


def _make(dataset: Dataset, batch_size: int, sampler: ShardSampler, num_workers: int, drop_last: bool) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        drop_last=drop_last,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
    )
