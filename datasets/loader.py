"""Batches of a data set: which samples, in which order, for which process."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset, default_collate

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.sample import Batch, Sample
from pointrecon.utils.errors import InputError
from pointrecon.utils.processes.connection import DEFAULT_TIMEOUT, TIMEOUT
from pointrecon.utils.processes.distributed import from_environment
from pointrecon.utils.seed import shared_batch

POLL = 1  # seconds after which waiting for a loading process is looked at anew
Order = Callable[[int, int], torch.Tensor | np.ndarray | None]


class LoadingStopped(Exception):
    """The run is to end and waits for a loading process: raised by a `Loader` whose `is_stopping` says so."""


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
        order: (seed, epoch) -> the order of a training epoch, for data that has to be read in one of its own; None as
            its value: a permutation.
    """

    def __init__(
        self,
        size: int,
        is_shuffled: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        order: Order | None = None,
    ) -> None:
        self.size = size
        self.is_shuffled = is_shuffled
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.order = order
        self.epoch = 0
        self.skip = 0  # samples of this process to leave out at the start of the next epoch; then 0 again

    def __len__(self) -> int:
        if self.is_shuffled:
            return self.size // self.world_size
        return len(range(self.rank, self.size, self.world_size))

    def __iter__(self) -> Iterator[int]:
        if not self.is_shuffled:
            return iter(range(self.rank, self.size, self.world_size))
        order = None if self.order is None else self.order(self.seed, self.epoch)
        if order is None:
            order = self._permute(self.seed, self.epoch)
        mine = order[self.rank : len(self) * self.world_size : self.world_size]
        skip, self.skip = self.skip, 0
        return iter(mine[skip:].tolist())

    def _permute(self, seed: int, epoch: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        return torch.randperm(self.size, generator=generator)


class Redrawn(Dataset[Sample]):
    """A data set that draws its points anew each time (`is_redrawn`), made a function of (seed, epoch, sample).

    Otherwise they would depend on which process loads the sample, and on what it has loaded before.
    """

    def __init__(self, dataset: PointCloudDataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int) -> Sample:
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


class BatchSource(Protocol):
    """What a training loop takes its batches from.

    Attributes:
        dataset: what the samples are from.
        batch_size: samples of a whole batch.
        sampler: says the order; its `epoch` and `skip` are read when an epoch begins.
        is_stopping: asked while the source waits for a loading process; see `LoadingStopped`.
    """

    dataset: PointCloudDataset | Redrawn | Subset[Sample]
    batch_size: int
    sampler: ShardSampler
    is_stopping: Callable[[], bool]

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


class Loader:
    """Batches of a data set, from loading processes if there are any; see `BatchSource`.

    Loading processes that give nothing for `RECON_TIMEOUT` seconds (1,800 unless set) end the run. They are killed
    then, since one that is stopped obeys nothing else.

    Args:
        dataset: what to load.
        batch_size: samples of a batch.
        sampler: which ones.
        num_workers: loading processes; 0: this process loads.
        drop_last: leave out a last batch that is smaller.
        pins: batches lie in memory from which a GPU copies fast.
    """

    def __init__(
        self,
        dataset: PointCloudDataset | Redrawn | Subset[Sample],
        batch_size: int,
        sampler: ShardSampler,
        *,
        num_workers: int = 0,
        drop_last: bool = False,
        pins: bool | None = None,
    ) -> None:
        self.dataset, self.batch_size, self.sampler = dataset, batch_size, sampler
        self.num_workers, self.drop_last = num_workers, drop_last
        self.is_stopping: Callable[[], bool] = lambda: False
        self._batches: DataLoader[Sample] = DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=num_workers,
            drop_last=drop_last,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available() if pins is None else pins,
            persistent_workers=num_workers > 0,
            timeout=POLL if num_workers else 0,
        )

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return _Patient(iter(self._batches), self)


class _Patient(Iterator[Batch]):
    """Waits for each batch, in pieces of `POLL` seconds."""

    def __init__(self, batches: Any, loader: Loader) -> None:
        self._batches, self._loader = batches, loader

    def __next__(self) -> Batch:
        start = time.monotonic()
        while True:
            try:
                return next(self._batches)
            except RuntimeError as error:
                if "DataLoader timed out" not in str(error):
                    raise
                waited = time.monotonic() - start
                limit = from_environment(TIMEOUT, DEFAULT_TIMEOUT)
                if self._loader.is_stopping():
                    kill_workers(self._batches)
                    raise LoadingStopped from error
                if waited >= limit:
                    stopped = kill_workers(self._batches)
                    raise InputError(
                        f"the processes that load data (pids {', '.join(map(str, stopped))}) have given nothing for "
                        f"{waited:.0f} s; look whether the disk answers and whether one was stopped, set {TIMEOUT} to "
                        "more seconds if they are only slow, and go on with --resume"
                    ) from error


def kill_workers(batches: Any) -> list[int]:
    """Ends the loading processes of an iterator of a `DataLoader` for good and returns their ids.

    torch asks them to end and waits, and so does Python at its own end: for ever, if one of them is stopped.
    """
    workers = list(getattr(batches, "_workers", ()))
    for worker in workers:
        with contextlib.suppress(OSError, TypeError):  # it has gone
            os.kill(worker.pid, signal.SIGKILL)
    for worker in workers:
        worker.join(5)
    return [worker.pid for worker in workers]


def collate(samples: list[Any]) -> Any:
    """A list of samples -> a batch.

    Raises:
        InputError: two samples have tensors of different sizes.
    """
    try:
        return default_collate(samples)
    except RuntimeError as error:
        found = _find_odd(samples)
        if found is None:
            raise
        raise InputError(found) from error


def _find_odd(samples: list[Any]) -> str | None:
    """Says which two samples do not fit together, None if it is something else."""
    first = samples[0]
    for other in samples[1:]:
        for key, value in first.items() if isinstance(first, dict) else ():
            if isinstance(value, torch.Tensor) and value.shape != other[key].shape:
                return (
                    f"'{key}' of '{first.get('id')}' is {tuple(value.shape)} and of '{other.get('id')}' "
                    f"{tuple(other[key].shape)}, but samples of one data set must be of one size; resample its clouds "
                    "to one number of points"
                )
    return None


def train_loader(
    dataset: PointCloudDataset,
    batch_size: int,
    num_workers: int = 0,
    drop_last: bool = False,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Loader:
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
    kind = RedrawnSampler if dataset.is_redrawn else ShardSampler
    sampler = kind(len(dataset), True, seed, rank, world_size, dataset.epoch_order)
    # A last batch of one sample has no batch statistics.
    drop_last = drop_last or len(sampler) % batch_size == 1
    source = Redrawn(dataset, seed) if dataset.is_redrawn else dataset
    return Loader(source, batch_size, sampler, num_workers=num_workers, drop_last=drop_last)


def eval_loader(
    dataset: PointCloudDataset | Subset[Sample],
    batch_size: int,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Loader:
    """Every sample once, in the order of the data set, this process's share of them."""
    sampler = ShardSampler(len(dataset), False, 0, rank, world_size)
    return Loader(dataset, batch_size, sampler, num_workers=num_workers)


def shared_batches(loader: Loader) -> Iterator[Batch]:
    """Batches of an `eval_loader`, in blocks of `utils.seed.shared_batch`: draws there are those of one process."""
    sampler = loader.sampler
    size = loader.batch_size * sampler.world_size
    for number, batch in enumerate(loader):
        with shared_batch(min(size, sampler.size - number * size)):
            yield batch
