"""Reading many objects: own memory does not grow, and few shards stay mapped."""

import pytest

from pointrecon.datasets.open import shards
from pointrecon.datasets.open.openshape import OpenShape
from tests.datasets.open.stand_in import read_epoch, write_stand_in


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("many")
    write_stand_in(root, 600, num_points=512, width=64, shard=50)
    return root


def test_memory_is_flat_and_few_shards_stay_mapped(root, monkeypatch):
    monkeypatch.setattr(shards, "MAX_OPEN", 3)
    dataset = OpenShape(root, objects=None, gpt4_filter=False, num_lanes=4, buffer=50)
    first = list(read_epoch(dataset, 20))
    assert first[-1][0] == 600 and len(dataset.shards._maps) == 3
    memory = [own for epoch in (1, 2) for *_, own in read_epoch(dataset, 20, epoch)]
    size = sum(path.stat().st_size for path in dataset.shards.files)
    assert max(memory) - first[5][2] < size / 2  # what is read is not kept


def test_a_shard_that_has_gone_is_named(root, tmp_path):
    write_stand_in(tmp_path, 4, num_points=8, width=4)
    dataset = OpenShape(tmp_path, objects=None, gpt4_filter=False)
    (path,) = dataset.shards.files
    path.unlink()
    with pytest.raises(shards.InputError, match=f"{path.name}' cannot be read"):
        dataset[0]
