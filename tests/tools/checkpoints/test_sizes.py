"""What the weights say about their network."""

import pytest
import torch

from pointrecon.models.classifier import PointClassifier
from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.losses.distillation import Distillation
from pointrecon.models.recon import ReCon
from pointrecon.models.two_tower import TwoTowerClassifier, TwoTowerEncoder
from pointrecon.tools.checkpoints.sizes import (
    describe_differences,
    kind_of,
    part_of,
    projection_dims,
    sizes_of,
    summarize,
)

SIZES = (16, 3, 2, 8, 4)


def test_sizes_of_a_classifier():
    state = PointClassifier(PointEncoder(*SIZES, mlp_ratio=2.0), 5, "mlp3").state_dict()
    assert sizes_of(state) == {
        "model.type": "ReCon",
        "model.embed_dim": 16,
        "model.depth": 3,
        "model.patch_width": 512,
        "model.mlp_ratio": 2.0,
        "classifier.head": "mlp3",
        "number of classes": 5,
    }
    assert kind_of(state) == "ReCon classifier"


@pytest.mark.parametrize(("stream", "said"), [("all", "all"), ("local", "local or global")])
def test_sizes_of_two_towers(stream, said):
    state = TwoTowerClassifier(TwoTowerEncoder(*SIZES), 5, "linear", stream=stream).state_dict()
    sizes = sizes_of(state)
    assert (sizes["model.type"], sizes["classifier.stream"], sizes["number of classes"]) == ("TwoTower", said, 5)
    assert kind_of(state) == "TwoTower classifier"


def test_sizes_of_a_pretraining_network():
    teachers = {"image": Distillation(10), "text": Distillation(6)}
    state = ReCon(PointEncoder(*SIZES), MaskedDecoder(16, 1, 2, 4), teachers=teachers).state_dict()
    assert projection_dims(state) == {"image": 10, "text": 6}
    sizes = sizes_of(state)
    assert sizes["model.decoder_depth"] == 1 and sizes["model.group_size"] == 4
    assert sizes["width of the image teacher"] == 10 and sizes["width of the text teacher"] == 6
    assert kind_of(state) == "ReCon pretraining" and "number of classes" not in sizes


def test_differences_name_both_sides_and_only_what_both_know():
    text = describe_differences({"model.depth": 3, "a": 1, "b": 2}, {"model.depth": 4, "b": 2, "c": 5})
    assert text == "model.depth is 3 in the file and 4 here"
    assert describe_differences({"a": 1}, {"a": 1, "b": 2}) is None


def test_keys_are_counted_by_part():
    keys = ["encoder.norm.weight", "encoder.query_tokens", "encoder.blocks.0.mlp_contrast.fc1.bias", "head.0.bias"]
    keys += ["text_encoder.a.b", "dvae_tokenizer.c", "other.thing"]
    counts = "encoder (1), global queries and their layers (2), head (1), teachers (2), other (1)"
    assert summarize(keys) == counts
    assert part_of("encoder.contrast_tower.norm.bias") == part_of("encoder.query_positions")


def test_tensors_with_too_few_axes_say_nothing():
    keys = ("encoder.norm.weight", "encoder.patch_embed.fc4.weight", "head.0.weight", "decoder.coords.weight")
    assert not sizes_of({key: torch.tensor(1.0) for key in keys})
    assert "model.embed_dim" not in sizes_of({"encoder.norm.weight": torch.empty(0)})
