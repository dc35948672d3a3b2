"""Batches of a data set: which samples, in which order, for which process."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import shared_batch


class ShardSampler(Sampler[int]):
    """Indices of one process. Their order depends on the seed and the epoch alone, so a run can resume anywhere.

    Args:
        size: number of samples in the data set.
        is_shuffled: training order, a permutation anew for each epoch; otherwise the order of the data set.
        seed: of the permutations.
        rank: number of this process.
        world_size: number of processes; sample i of the order is theirs in turn. In training the last
            `size % world_size` samples of an epoch are left out, so that all processes make the same number of steps
            of as many samples; in evaluation nothing is left out and nothing repeated.
        order: (seed, epoch) -> the order of a training epoch, for data that has to be read in one of its own.
    """

    def __init__(
        self,
        size: int,
        is_shuffled: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        order: Callable[[int, int], torch.Tensor | np.ndarray] | None = None,
    ) -> None:
        self.size = size
        self.is_shuffled = is_shuffled
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.order = self._permute if order is None else order
        self.epoch = 0
        self.skip = 0  # samples of this process to leave out at the start of the next epoch; then 0 again

    def __len__(self) -> int:
        if self.is_shuffled:
            return self.size // self.world_size
        return len(range(self.rank, self.size, self.world_size))

    def __iter__(self) -> Iterator[int]:
        if not self.is_shuffled:
            return iter(range(self.rank, self.size, self.world_size))
        order = self.order(self.seed, self.epoch)
        mine = order[self.rank : len(self) * self.world_size : self.world_size]
        skip, self.skip = self.skip, 0
        return iter(mine[skip:].tolist())

    def _permute(self, seed: int, epoch: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        return torch.randperm(self.size, generator=generator)


class Redrawn(Dataset):
    """A data set that draws its points anew each time (`is_redrawn`), made a function of (seed, epoch, sample).

    Otherwise they would depend on which process loads the sample, and on what it has loaded before.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int) -> Any:
        """`key` is one of `RedrawnSampler`."""
        state = torch.default_generator.get_state()
        torch.default_generator.manual_seed((self.seed * 1_000_003_000_003 + key) % (1 << 62))
        try:
            return self.dataset[key % len(self)]
        finally:
            torch.default_generator.set_state(state)


class RedrawnSampler(ShardSampler):
    """Numbers that say the epoch as well as the sample: loading processes live longer than an epoch."""

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.size
        return (first + index for index in super().__iter__())


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

    The whole batches of all processes together are those of one process with a batch that is `world_size` times larger.
    What is left at the end of an epoch makes a last batch, cut to a multiple of `world_size`, that is also left out
    where it has one sample a process. So an epoch is exactly that of one process with `drop_last`, and without it if
    what is left is a multiple of `world_size` and at least twice that, or at most one sample.

    Raises:
        InputError: the data set is smaller than a batch of all processes together.
    """
    total = batch_size * world_size
    if total > len(dataset):
        raise InputError(
            f"batch_size is {total}, but the training split has {len(dataset)} shapes; give batch_size={len(dataset)} "
            "or less"
        )
    is_redrawn = getattr(dataset, "is_redrawn", False)
    sampler = (RedrawnSampler if is_redrawn else ShardSampler)(
        len(dataset), True, seed, rank, world_size, getattr(dataset, "epoch_order", None)
    )
    dataset = Redrawn(dataset, seed) if is_redrawn else dataset
    # A last batch of one sample has no batch statistics.
    drop_last = drop_last or len(sampler) % batch_size == 1
    return _make(dataset, batch_size, sampler, num_workers, drop_last)


def eval_loader(
    dataset: Dataset, batch_size: int, num_workers: int = 0, rank: int = 0, world_size: int = 1
) -> DataLoader:
    """Every sample once, in the order of the data set, this process's share of them."""
    return _make(dataset, batch_size, ShardSampler(len(dataset), False, 0, rank, world_size), num_workers, False)


def shared_batches(loader: DataLoader) -> Iterator[dict[str, Any]]:
    """Batches of an `eval_loader`, in blocks of `utils.seed.shared_batch`: draws there are those of one process."""
    sampler = loader.sampler
    size = loader.batch_size * sampler.world_size
    for number, batch in enumerate(loader):
        with shared_batch(min(size, sampler.size - number * size)):
            yield batch


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
