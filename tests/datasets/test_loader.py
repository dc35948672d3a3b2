"""Who gets which sample, and when."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.loader import ShardSampler, eval_loader, train_loader
from pointrecon.utils.errors import InputError
from tests import ROOT


class Numbers(PointCloudDataset):
    """Samples that are their own numbers."""

    def __init__(self, size):
        names = [str(number) for number in range(size)]
        super().__init__(ids=names, labels=range(size), class_names=names)

    def read(self, row):
        return self.sample(row, torch.full((1, 3), float(row)))


DATA = Numbers(23)


def sizes(loader):
    return [len(batch["label"]) for batch in loader]


def values(loader):
    return [int(x) for batch in loader for x in batch["label"]]


def test_training_order_depends_on_seed_and_epoch_alone():
    loader = train_loader(DATA, 4, seed=1)
    first = values(loader)
    assert sorted(first) == list(range(23)) and first != list(range(23))
    assert values(loader) == first and values(train_loader(DATA, 4, seed=1)) == first
    loader.sampler.epoch = 1
    assert values(loader) != first and values(train_loader(DATA, 4, seed=2)) != first


def test_processes_share_an_epoch_evenly_and_without_overlap():
    parts = [values(train_loader(DATA, 4, seed=0, rank=rank, world_size=3)) for rank in range(3)]
    assert [len(part) for part in parts] == [7, 7, 7]
    assert len(set(sum(parts, []))) == 21
    parts = [values(eval_loader(DATA, 2, rank=rank, world_size=3)) for rank in range(3)]
    assert sorted(sum(parts, [])) == list(range(23))  # nothing left out, nothing twice


def test_skip_leaves_out_what_is_done_once():
    loader = train_loader(DATA, 4)
    whole = values(loader)
    loader.sampler.skip = 8
    assert values(loader) == whole[8:] and values(loader) == whole


def test_a_last_batch_of_one_is_left_out_of_training_only():
    assert sizes(train_loader(DATA, 11)) == [11, 11]
    assert sizes(train_loader(DATA, 10)) == [10, 10, 3]
    assert sizes(train_loader(DATA, 10, drop_last=True)) == [10, 10]
    assert sizes(eval_loader(DATA, 11)) == [11, 11, 1]


def test_a_batch_larger_than_the_data_set():
    with pytest.raises(InputError, match="batch_size is 24.*23 shapes"):
        train_loader(DATA, 24)
    with pytest.raises(InputError, match="batch_size is 24"):
        train_loader(DATA, 12, world_size=2)


def test_lengths():
    assert len(ShardSampler(23, True, world_size=4)) == 5
    assert [len(ShardSampler(23, False, rank=rank, world_size=4)) for rank in range(4)] == [6, 6, 6, 5]


class Drawn(Numbers):
    is_redrawn = True

    def read(self, row):
        return self.sample(row, torch.rand(1, 3))


def drawn(num_workers=0, epoch=0, skip=0, rank=0, world_size=1):
    loader = train_loader(Drawn(24), 4 // world_size, num_workers, False, 5, rank, world_size)
    loader.sampler.epoch, loader.sampler.skip = epoch, skip
    batches = [(batch["label"], batch["points"][:, 0, 0]) for batch in loader]
    return {int(i): float(x) for labels, values in batches for i, x in zip(labels, values, strict=True)}


def test_what_a_data_set_draws_depends_on_seed_epoch_and_sample_alone():
    state = torch.get_rng_state()
    whole = drawn()
    assert len(set(whole.values())) == 24 and drawn(epoch=1) != whole
    rest = drawn(num_workers=2, skip=8)
    assert len(rest) == 16 and rest.items() < whole.items()
    assert drawn(rank=0, world_size=2) | drawn(rank=1, world_size=2) == whole
    torch.set_rng_state(state)
    a = torch.rand(1)
    torch.set_rng_state(state)
    train_loader(Drawn(24), 4).dataset[3]
    assert torch.equal(a, torch.rand(1))  # other draws are left alone


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "is_same"), [(6, True, True), (6, False, False), (16, False, True), (22, False, True)]
)
def test_when_two_processes_make_the_batches_of_one(batch_size, drop_last, is_same):
    """What is left of 23 or 24 samples: of 5 one is lost, 8 are shared, and 1 is no batch for anybody."""
    size = 24 if batch_size == 16 else 23
    data = Numbers(size)
    whole = [batch["label"].tolist() for batch in train_loader(data, batch_size, drop_last=drop_last)]
    halves = [train_loader(data, batch_size // 2, 0, drop_last, 0, rank, 2) for rank in range(2)]
    parts = [[batch["label"] for batch in half] for half in halves]
    joined = [torch.stack(pair, dim=1).flatten().tolist() for pair in zip(*parts, strict=True)]
    assert (joined == whole) == is_same
    assert all(a == b[: len(a)] for a, b in zip(joined, whole, strict=True))


def test_clouds_that_differ_in_size_are_named():
    class Ragged(Numbers):
        def read(self, row):
            return self.sample(row, torch.zeros(4 + row, 3))

    for num_workers in (0, 1):
        with pytest.raises(InputError, match=r"'points' of '\d+' is \(\d+, 3\) and of '\d+' \(\d+, 3\)"):
            list(train_loader(Ragged(8), 4, num_workers))


def stop_workers(loader):
    """Starts an epoch, takes a batch and stops all loading processes."""
    batches = iter(loader)
    next(batches)
    for worker in loader._batches._iterator._workers:
        os.kill(worker.pid, signal.SIGSTOP)
    return batches, [worker.pid for worker in loader._batches._iterator._workers]


def test_stopped_loading_processes_end_the_run_within_the_time_limit(monkeypatch):
    loader = train_loader(Numbers(64), 2, num_workers=2)
    batches, pids = stop_workers(loader)
    monkeypatch.setenv("RECON_TIMEOUT", "2")  # from here on: starting them may take longer on a busy machine
    start = time.monotonic()
    with pytest.raises(InputError, match=f"pids {pids[0]}, {pids[1]}.* have given nothing for .*RECON_TIMEOUT"):
        list(batches)
    assert time.monotonic() - start < 100
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


CODE = """
import signal
from tests.datasets.test_loader import Numbers, stop_workers
from pointrecon.datasets.loader import train_loader

def end(*_):
    raise SystemExit(7)

signal.signal(signal.SIGALRM, end)
batches, _ = stop_workers(train_loader(Numbers(64), 2, num_workers=2))
signal.alarm(1)
list(batches)
"""


def test_a_signal_ends_a_run_that_waits_for_stopped_loading_processes():
    """Python itself would wait for them at its end."""
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, timeout=60, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
