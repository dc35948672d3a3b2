"""Stand-in shapes."""

import pytest
import torch

from pointrecon.datasets.sets.random_shapes import RandomShapes
from pointrecon.utils.errors import InputError


def test_samples_are_shapes_of_the_unit_sphere():
    data = RandomShapes("", num_shapes=5, num_stored=50, num_classes=3, images=True, image_size=8)
    assert len(data) == 5 and len(set(data.ids)) == 5
    sample = data[4]
    assert sample["points"].shape == (50, 3) and sample["points"].norm(dim=-1).max() <= 1
    assert sample["image"].shape == (3, 8, 8) and 0 <= sample["image"].min() and sample["image"].max() <= 1
    assert sample["text"] == data.class_names[sample["label"]]


def test_the_seed_and_the_split_make_the_shapes():
    same, again, other, test = (
        RandomShapes("", split, num_shapes=2, num_stored=4, seed=seed).points
        for split, seed in (("train", 0), ("train", 0), ("train", 1), ("test", 0))
    )
    assert torch.equal(same, again) and not torch.equal(same, other) and not torch.equal(same, test)


@pytest.mark.parametrize("option", ["num_shapes", "num_stored", "num_classes"])
def test_nothing_is_refused(option):
    with pytest.raises(InputError, match=f"data.options.{option} is 0"):
        RandomShapes("", **{option: 0})


def test_more_than_memory_holds_is_refused():
    with pytest.raises(InputError, match="need 12000 GB"):
        RandomShapes("", num_shapes=10**6, num_stored=10**6)
