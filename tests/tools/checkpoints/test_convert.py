"""Conversion: both ways and to safetensors, nothing lost, nothing overwritten."""

import pytest
import torch
from safetensors import safe_open

from pointrecon.models.classifier import PointClassifier
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.segmenter import PointSegmenter
from pointrecon.tools.checkpoints.checkpoint import load_weights, read_checkpoint, save_checkpoint
from pointrecon.tools.checkpoints.convert import convert
from pointrecon.utils.errors import InputError
from tests import ROOT

FIXTURE = ROOT / "tests" / "fixtures" / "official_tiny"


def read(path, name="base_model"):
    return torch.load(path, weights_only=True)[name]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["pretrain", "cls_full", "cls_linear"])
@pytest.mark.parametrize("middle", ["b.pth", "b.safetensors"])
def test_published_to_ours_to_published(tmp_path, name, middle):
    source = FIXTURE / f"{name}.pth"
    convert(source, tmp_path / middle, "ours")
    assert any(key.startswith("encoder.patch_embed.") for key in read_checkpoint(tmp_path / middle)["base_model"])
    convert(tmp_path / middle, tmp_path / "c.pth", "published")
    assert same(read(tmp_path / "c.pth"), read(source))


def test_what_else_is_kept(tmp_path):
    model = PointClassifier(PointEncoder(12, 2, 2, 8, 4), 3)
    content = {"config": {"model": {"num_heads": 2}}, "metrics": {"loss": 0.5}, "epoch": 4, "optimizer": {"state": {}}}
    save_checkpoint({"base_model": model.state_dict(), **content}, tmp_path / "a.pth")
    sentence = convert(tmp_path / "a.pth", tmp_path / "b.safetensors", "safetensors")
    assert "ReCon classifier" in sentence
    found = read_checkpoint(tmp_path / "b.safetensors")
    assert {key: found.get(key) for key in content} == content | {"optimizer": None}
    other = PointClassifier(PointEncoder(12, 2, 2, 8, 4), 3)
    load_weights(other, tmp_path / "b.safetensors")
    assert same(other.state_dict(), model.state_dict())


def test_segmentation_files_keep_their_own_container(tmp_path):
    model = PointSegmenter(PointEncoder(12, 3, 2, 8, 4), 16, 50)
    save_checkpoint({"base_model": model.state_dict()}, tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "b.pth", "published")
    assert "convs1.weight" in read(tmp_path / "b.pth", "model_state_dict")
    convert(tmp_path / "b.pth", tmp_path / "c.pth", "ours")
    assert same(read(tmp_path / "c.pth"), model.state_dict())


def test_files_that_are_not_converted(tmp_path):
    torch.save({"base_model": {"some.weight": torch.ones(2)}}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="holds no encoder, so it is no checkpoint of this project"):
        convert(tmp_path / "a.pth", tmp_path / "b.pth")
    model = PointClassifier(PointEncoder(12, 2, 2, 8, 4), 3)
    config = {"model": {"num_heads": 2, "block": "PreNormBlock"}}
    save_checkpoint({"base_model": model.state_dict(), "config": config}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="of PreNormBlocks, which no published file holds; use --to safetensors"):
        convert(tmp_path / "a.pth", tmp_path / "b.pth", "published")
    assert not (tmp_path / "b.pth").exists()


def test_what_json_cannot_hold_is_left_out(tmp_path):
    model = PointClassifier(PointEncoder(12, 2, 2, 8, 4), 3)
    content = {"metrics": {1: {"a": torch.ones(2)}}, "epoch": 4, "feature_means": {"image": torch.ones(3)}}
    save_checkpoint({"base_model": model.state_dict(), **content}, tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "b.safetensors", is_half=True)
    found = read_checkpoint(tmp_path / "b.safetensors")
    assert "metrics" not in found and found["epoch"] == 4 and found["feature_means"]["image"].tolist() == [1, 1, 1]
    kinds = {value.dtype for value in found["base_model"].values() if value.is_floating_point() and value.ndim > 1}
    assert kinds == {torch.float16}


def test_teachers_are_left_out_and_it_is_said(tmp_path):
    state = read(FIXTURE / "pretrain.pth") | {"img_encoder.cls": torch.ones(2), "text_encoder.a": torch.ones(2)}
    torch.save({"base_model": state}, tmp_path / "a.pth")
    assert convert(tmp_path / "a.pth", tmp_path / "b.pth").endswith("left out: teachers (2)")
    assert not any("encoder.cls" in key or key == "text_encoder.a" for key in read(tmp_path / "b.pth"))


@pytest.mark.parametrize(
    ("source", "target", "to", "message"),
    [
        ("pretrain.pth", "b.pth", "our", "--to is 'our'.*did you mean 'ours'"),
        ("pretrain.pth", "b.pth", "safetensors", "does not end in .safetensors"),
        ("pretrain.pth", "there.pth", "ours", "is there already.*--overwrite"),
        ("missing.pth", "b.pth", "ours", "does not exist"),
        ("config.json", "b.pth", "ours", "damaged"),
    ],
)
def test_mistakes_leave_nothing(tmp_path, source, target, to, message):
    (tmp_path / "there.pth").write_bytes(b"old")
    with pytest.raises(InputError, match=message):
        convert(FIXTURE / source, tmp_path / target, to)
    assert [path.name for path in tmp_path.iterdir()] == ["there.pth"] and (
        tmp_path / "there.pth"
    ).read_bytes() == b"old"


def test_overwrite_replaces_even_the_source(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes((FIXTURE / "cls_linear.pth").read_bytes())
    convert(path, path, "ours", is_overwrite=True)
    assert "head.0.weight" in read(path)


def test_a_plain_masked_autoencoder_has_no_counterpart(tmp_path):
    state = {key: x for key, x in read(FIXTURE / "pretrain.pth").items() if "contrast" not in key}
    torch.save({"base_model": state}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="Point-MAE pretraining.*--ckpts"):
        convert(tmp_path / "a.pth", tmp_path / "b.pth")
    torch.save({"base_model": {"fc.weight": torch.ones(2)}}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="no encoder"):
        convert(tmp_path / "a.pth", tmp_path / "b.pth")
    assert not (tmp_path / "b.pth").exists()


def test_what_json_cannot_hold_stays_behind(tmp_path):
    state = read_checkpoint(FIXTURE / "cls_linear.pth")["base_model"]
    torch.save({"base_model": state, "metrics": b"\xff", "epoch": 3}, tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "b.safetensors")
    with safe_open(tmp_path / "b.safetensors", "pt") as file:
        assert file.metadata()["epoch"] == "3" and "metrics" not in file.metadata()
