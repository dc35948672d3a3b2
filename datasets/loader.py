"""Batches of a data set: which samples, in which order, for which process."""

import atexit
import contextlib
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
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

_POLL = 0.5  # seconds between two looks at how long a batch has been waited for
Order = Callable[[int, int], torch.Tensor | np.ndarray | None]


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


Samples = PointCloudDataset | Redrawn | Subset[Sample]


class BatchSource(Protocol):
    """What a training loop takes its batches from.

    Attributes:
        dataset: what the samples are from.
        batch_size: samples of a whole batch.
        sampler: says the order; its `epoch` and `skip` are read when an epoch begins.
    """

    batch_size: int
    sampler: ShardSampler

    @property
    def dataset(self) -> Samples: ...

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
        dataset: Samples,
        batch_size: int,
        sampler: ShardSampler,
        *,
        num_workers: int = 0,
        drop_last: bool = False,
        pins: bool | None = None,
    ) -> None:
        self.dataset, self.batch_size, self.sampler = dataset, batch_size, sampler
        self.num_workers, self.drop_last = num_workers, drop_last
        self._watch: _Watch | None = None
        self._batches: DataLoader[Sample] = DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=num_workers,
            drop_last=drop_last,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available() if pins is None else pins,
            persistent_workers=num_workers > 0,
        )

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        batches: Any = iter(self._batches)
        if self.num_workers and self._watch is None:
            self._watch = _Watch(batches._workers)
        return batches if self._watch is None else _Watched(batches, self._watch)


class _Watch:
    """Kills loading processes that have been waited for too long.

    It does so from a thread: torch limits how long it waits for a message, but not for the memory that a message speaks
    of, which a process that is stopped never hands over.
    """

    def __init__(self, workers: Sequence[Any]) -> None:
        self.workers = list(workers)
        self.since: float | None = None  # when the wait for a batch began
        self.waited = 0.0  # seconds, once it has been too long
        # At the end torch and Python wait for them, for ever if one is stopped. What is registered last comes first.
        atexit.register(kill, self.workers)
        threading.Thread(target=_Watch._look, args=(weakref.ref(self),), daemon=True).start()

    @staticmethod
    def _look(watch: "weakref.ref[_Watch]") -> None:
        while True:
            time.sleep(_POLL)
            this = watch()
            if this is None:
                return
            waited = 0.0 if this.since is None else time.monotonic() - this.since
            if waited > from_environment(TIMEOUT, DEFAULT_TIMEOUT):
                this.waited = waited
                for worker in this.workers:
                    worker.kill()
                return
            del this


class _Watched(Iterator[Batch]):
    """The batches of loading processes that a `_Watch` looks after."""

    def __init__(self, batches: Any, watch: _Watch) -> None:
        self._batches, self._watch = batches, watch

    def __next__(self) -> Batch:
        self._watch.since = time.monotonic()
        try:
            return next(self._batches)
        except (StopIteration, InputError):
            raise
        except BaseException as error:
            # The run ends: a signal, or a fault. Nobody needs them any more, and they are not waited for.
            kill(self._watch.workers)
            if not self._watch.waited:
                raise
            pids = ", ".join(str(worker.pid) for worker in self._watch.workers)
            raise InputError(
                f"the processes that load data (pids {pids}) have given nothing for {self._watch.waited:.0f} s; look "
                f"whether the disk answers and whether one was stopped, set {TIMEOUT} to more seconds if they are only "
                "slow, and go on with --resume"
            ) from TimeoutError(f"DataLoader timed out ({error})")
        finally:
            self._watch.since = None


def kill(workers: Sequence[Any]) -> None:
    """Ends processes for good: one that is stopped obeys nothing else."""
    before = None
    with contextlib.suppress(ValueError):  # not in the main thread, where nothing hears of it either
        before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch takes the end of a loading process for a failure
    for act in (lambda worker: worker.kill(), lambda worker: worker.join(5)):
        for worker in workers:
            with contextlib.suppress(ValueError, AssertionError):  # closed already, or the child of another process
                act(worker)
    if before is not None:
        signal.signal(signal.SIGCHLD, before)


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
