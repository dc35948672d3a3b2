"""The training set on the device against the loader that it stands in for."""

import pytest
import torch

from pointrecon.datasets.loader import train_loader
from pointrecon.datasets.resident import ResidentLoader
from pointrecon.datasets.sets.random_shapes import RandomShapes
from pointrecon.utils.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shapes():
    return RandomShapes("", num_shapes=21, num_stored=16)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (1, 2)])
def test_batches_are_those_of_the_loader(shapes, drop_last, rank, world_size):
    loader = train_loader(shapes, 4, 0, drop_last, seed=3, rank=rank, world_size=world_size)
    resident = ResidentLoader(loader, CPU)
    for epoch, skip in ((0, 0), (1, 4)):
        batches = []
        for source in (loader, resident):
            source.sampler.epoch, source.sampler.skip = epoch, skip
            batches.append(list(source))
        assert len(batches[0]) == len(batches[1]) == len(resident) - skip // 4
        for wanted, actual in zip(*batches, strict=True):
            assert wanted.keys() == actual.keys()
            assert actual["points"].dtype == torch.float32
            torch.testing.assert_close(actual["points"], wanted["points"], rtol=0, atol=1 / 4096)
            assert torch.equal(actual["label"], wanted["label"])
            assert actual["id"] == wanted["id"] and actual["text"] == wanted["text"]


def test_points_take_two_bytes_a_coordinate(shapes):
    resident = ResidentLoader(train_loader(shapes, 4), CPU)
    assert resident.num_bytes == 21 * 16 * 3 * 2 + 21 * 8


def test_samples_that_change_are_refused(shapes):
    class Changing(RandomShapes):
        is_redrawn = True

    with pytest.raises(InputError, match="not the same ones in each epoch"):
        ResidentLoader(train_loader(Changing("", num_shapes=8, num_stored=4), 4), CPU)


def test_samples_of_several_sizes_are_refused(shapes):
    class Ragged(RandomShapes):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return {**sample, "points": sample["points"][: 4 + index]}

    with pytest.raises(InputError, match="Ragged differ in size"):
        ResidentLoader(train_loader(Ragged("", num_shapes=8, num_stored=16), 4), CPU)


def test_a_device_without_room_is_told_before_the_reading(shapes, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 2000))
    loader = train_loader(shapes, 4)
    with pytest.raises(InputError, match="'points' of all samples takes 0.0 GB"):
        ResidentLoader(loader, torch.device("cuda", 0))
