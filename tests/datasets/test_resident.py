"""The training set on the device against the loader that it stands in for."""

import pytest
import torch

from pointrecon.datasets.dataset import PointCloudDataset
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
            torch.testing.assert_close(actual["points"], wanted["points"], rtol=0, atol=1 / 32767)
            assert torch.equal(actual["label"], wanted["label"])
            assert actual["id"] == wanted["id"] and actual["text"] == wanted["text"]


def test_points_take_two_bytes_a_coordinate(shapes):
    resident = ResidentLoader(train_loader(shapes, 4), CPU)
    assert resident.num_bytes == 21 * 16 * 3 * 2 + 21 * (8 + 4 * 4)


class Clouds(PointCloudDataset):
    def __init__(self, points):
        super().__init__(ids=[f"cloud{row}" for row in range(len(points))])
        self.points = points

    def read(self, row):
        return self.sample(row, self.points[row])


def kept_apart_from_half(points):
    """The largest distance that a point moves, in parts of its cloud's radius."""
    loader = train_loader(Clouds(points), 5)
    batches = zip(loader, ResidentLoader(loader, CPU), strict=True)
    moved = []
    for wanted, actual in batches:
        centre = wanted["points"].mean(dim=1, keepdim=True)
        radius = (wanted["points"] - centre).norm(dim=-1).amax(dim=1)
        moved.append(((wanted["points"] - actual["points"]).norm(dim=-1).amax(dim=1) / radius).max())
    return float(torch.stack(moved).max())


@pytest.mark.parametrize(
    ("size", "offset"), [(0.3, 100.0), (1.0, 0.0), (1e6, 0.0), (1e-6, 0.0), (1e-3, 5.0), (2e5, -1e6), (1e14, 0.0)]
)
def test_raw_clouds_keep_their_points_wherever_they_lie(size, offset):
    points = torch.rand(16, 256, 3, generator=torch.Generator().manual_seed(0)) * size + offset
    assert kept_apart_from_half(points) < 1 / 4096


def test_what_is_stored_in_half_precision_is_kept_to_the_bit():
    points = torch.randn(16, 32, 3).half().float()
    loader = train_loader(Clouds(points), 4)
    resident = ResidentLoader(loader, CPU)
    assert resident.is_exact and resident.num_bytes == points.numel() * 2 + 16 * 8
    for wanted, actual in zip(loader, resident, strict=True):
        assert torch.equal(wanted["points"], actual["points"])


def test_a_later_cloud_may_be_the_first_that_half_precision_would_move():
    points = torch.randn(100, 32, 3).half().float()
    points[90] += 1000.3
    assert 0 < kept_apart_from_half(points) < 1 / 4096


def test_samples_that_change_are_refused(shapes):
    class Changing(RandomShapes):
        @property
        def is_redrawn(self):
            return True

    with pytest.raises(InputError, match="not the same ones in each epoch"):
        ResidentLoader(train_loader(Changing("", num_shapes=8, num_stored=4), 4), CPU)


def test_samples_of_several_sizes_are_refused(shapes):
    class Ragged(RandomShapes):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return {**sample, "points": sample["points"][: 4 + index]}

    with pytest.raises(InputError, match="'points' of 'train-0' is \\(4, 3\\) and of 'train-1' \\(5, 3\\)"):
        ResidentLoader(train_loader(Ragged("", num_shapes=8, num_stored=16), 4), CPU)


def test_a_device_without_room_is_told_before_the_reading(shapes, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 2000))
    loader = train_loader(shapes, 4)
    with pytest.raises(InputError, match="'points' of all samples takes 0.0 GB"):
        ResidentLoader(loader, torch.device("cuda", 0))
