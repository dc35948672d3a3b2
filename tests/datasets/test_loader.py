"""Who gets which sample, and when."""

import pytest
import torch
from torch.utils.data import TensorDataset

from datasets.loader import ShardSampler, eval_loader, train_loader
from utils.errors import InputError

DATA = TensorDataset(torch.arange(23))


def values(loader):
    return [int(x) for (batch,) in loader for x in batch]


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
    assert [len(batch) for (batch,) in train_loader(DATA, 11)] == [11, 11]
    assert [len(batch) for (batch,) in train_loader(DATA, 10)] == [10, 10, 3]
    assert [len(batch) for (batch,) in train_loader(DATA, 10, drop_last=True)] == [10, 10]
    assert [len(batch) for (batch,) in eval_loader(DATA, 11)] == [11, 11, 1]


def test_a_batch_larger_than_the_data_set():
    with pytest.raises(InputError, match="batch_size is 24.*23 shapes"):
        train_loader(DATA, 24)
    with pytest.raises(InputError, match="batch_size is 24"):
        train_loader(DATA, 12, world_size=2)


def test_lengths():
    assert len(ShardSampler(23, True, world_size=4)) == 5
    assert [len(ShardSampler(23, False, rank=rank, world_size=4)) for rank in range(4)] == [6, 6, 6, 5]
