"""Networks from a file alone: what a file does not say is asked for, and what is no network is named."""

import pytest
import torch

from pointrecon.models.encoder import PointEncoder
from pointrecon.tools.checkpoints.checkpoint import save_checkpoint
from pointrecon.tools.checkpoints.pretrained import class_names_of, load_pretrained
from pointrecon.utils.errors import InputError


@pytest.fixture
def path(tmp_path):
    encoder = PointEncoder(12, 2, 2, 8, 4)
    save_checkpoint({"base_model": {f"encoder.{key}": value for key, value in encoder.state_dict().items()}},
                    tmp_path / "a.pth")  # fmt: skip
    return tmp_path / "a.pth"


def test_an_encoder_alone(path):
    with pytest.raises(InputError, match="is 12 channels wide and does not say how many attention heads it has"):
        load_pretrained(path)
    network, info = load_pretrained(path, num_heads=2, num_groups=8, group_size=4)
    assert not network.training and info.class_names == () and info.guessed == () and info.config["model"]["depth"] == 2
    saved = torch.load(path, weights_only=True)["base_model"]
    assert all(torch.equal(value, saved[f"encoder.{key}"]) for key, value in network.state_dict().items())


def test_a_file_without_an_encoder(tmp_path):
    save_checkpoint({"base_model": {"head.weight": torch.ones(2, 2)}}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth' holds no encoder; give a checkpoint of pretraining"):
        load_pretrained(tmp_path / "a.pth")


@pytest.mark.parametrize("names", [None, "ab", ["a"], ["a", 3]])
def test_names_of_classes_that_do_not_fit_the_head(names):
    assert class_names_of({"class_names": names}, 2) == ("class 0", "class 1")
    assert class_names_of({"class_names": ["a", "b"]}, 2) == ("a", "b")
