"""Checkpoints: what is refused, what is reported, what survives."""

import pickle
from argparse import Namespace

import numpy as np
import pytest
import torch
from torch import nn

from pointrecon.models.classifier import PointClassifier
from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.losses.distillation import Distillation
from pointrecon.models.published.encoder import to_published
from pointrecon.models.recon import ReCon
from pointrecon.models.two_tower import TwoTower, TwoTowerClassifier, TwoTowerEncoder
from pointrecon.tools.checkpoints.checkpoint import load_weights, read_checkpoint, save_checkpoint
from pointrecon.tools.checkpoints.pretrained import load_pretrained
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.weights import write_safetensors


def make(width=24, depth=2, head="linear", num_heads=2, num_classes=3):
    return PointClassifier(PointEncoder(width, depth, num_heads, 8, 4), num_classes, head)


def make_pretrainer(kind=ReCon, encoder=PointEncoder, decoder_depth=1):
    teachers = {"image": Distillation(10), "text": Distillation(6)}
    return kind(encoder(24, 2, 2, 8, 4), MaskedDecoder(24, decoder_depth, 2, 4), teachers=teachers)


ACT_CLASS_TOKEN = {f"ACT_encoder.cls_{name}": torch.randn(1, 1, 24) for name in ("token", "pos")}


def point_mae(prefix="MAE_encoder."):
    """A plain masked autoencoder's weights: tower 1 and the decoder of the two-tower network."""
    state = to_published(make_pretrainer(TwoTower, TwoTowerEncoder).state_dict())
    leave = ("Dis_encoder.", "img_proj.", "text_proj.")
    return {key.replace("MAE_encoder.", prefix): x for key, x in state.items() if not key.startswith(leave)}


@pytest.fixture
def saved(tmp_path):
    model = make()
    save_checkpoint({"base_model": model.state_dict(), "epoch": 1}, tmp_path / "a.pth")
    return model, tmp_path / "a.pth"


def test_round_trip(saved):
    model, path = saved
    other = make()
    report = load_weights(other, path)
    assert report.num_loaded == len(model.state_dict()) and not report.initial and not report.ignored
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())
    assert read_checkpoint(path)["version"] == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make(width=32), r"model\.embed_dim is 24 in the file and 32 here"),
        (make(depth=3), r"model\.depth is 2 in the file and 3 here"),
        (make(depth=1), r"model\.depth is 2 in the file and 1 here"),
        (make(head="mlp3"), r"classifier\.head is linear in the file and mlp3 here"),
        (make(num_classes=4), "number of classes is 3 in the file and 4 here.*classifier.init_head=new"),
        (
            TwoTowerClassifier(TwoTowerEncoder(24, 2, 2, 8, 4), 3, "linear"),
            r"model\.type is ReCon .* and TwoTower here",
        ),
    ],
)
def test_another_size_is_refused_and_nothing_is_changed(saved, other, message):
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_weights(other, saved[1])
    assert all(torch.equal(before[key], value) for key, value in other.state_dict().items())


def test_a_missing_head_is_allowed_only_where_it_is_said(saved, tmp_path):
    state = {key: value for key, value in saved[0].state_dict().items() if not key.startswith("head.")}
    save_checkpoint({"base_model": state}, tmp_path / "b.pth")
    with pytest.raises(InputError, match=r"head \(2\)"):
        load_weights(make(), tmp_path / "b.pth")
    report = load_weights(make(), tmp_path / "b.pth", may_lack=("head.",))
    assert "at their initial values, since such a file has none: head (2)" in str(report)


class Hostile:
    def __reduce__(self):
        return print, ("executed",)


def test_damaged_hostile_and_foreign_files_are_refused(saved, tmp_path, capsys):
    path = tmp_path / "bad.pth"
    with pytest.raises(InputError, match="does not exist"):
        read_checkpoint(path)
    path.write_bytes(saved[1].read_bytes()[:-2000])
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(path)
    torch.save({"base_model": {}, "extra": Hostile()}, path)
    with pytest.raises(InputError, match="objects other than tensors"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(InputError):
        read_checkpoint(path)
    assert "executed" not in capsys.readouterr().out
    for content in (
        torch.zeros(3),
        {},
        {"state": {}},
        {"base_model": {"a": 1}},
        {"model": {"a": torch.ones(1), "b": 1}},
    ):
        torch.save(content, path)
        with pytest.raises(InputError, match="no weights"):
            read_checkpoint(path)


def test_a_failed_write_leaves_the_old_file(saved, monkeypatch):
    before = saved[1].read_bytes()

    def save(content, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint({"base_model": {}}, saved[1])
    assert saved[1].read_bytes() == before
    assert [path.name for path in saved[1].parent.iterdir()] == [saved[1].name]


def test_prefix_of_data_parallel_is_removed(saved, tmp_path):
    state = {f"module.{key}": value for key, value in saved[0].state_dict().items()}
    save_checkpoint({"base_model": state}, tmp_path / "b.pth")
    assert load_weights(make(), tmp_path / "b.pth").num_loaded == len(state)
    assert isinstance(make(), nn.Module)


def test_heads_of_attention_are_compared_where_the_file_says_how_many(saved, tmp_path):
    content = {"base_model": saved[0].state_dict(), "config": {"model": {"num_heads": 2, "decoder_num_heads": 3}}}
    save_checkpoint(content, tmp_path / "b.pth")
    assert load_weights(make(), tmp_path / "b.pth").num_loaded
    with pytest.raises(InputError, match=r"model\.num_heads is 2 in the file and 3 here"):
        load_weights(make(num_heads=3), tmp_path / "b.pth")
    save_checkpoint({**content, "config": "lost"}, tmp_path / "b.pth")
    assert load_weights(make(), tmp_path / "b.pth").num_loaded


@pytest.mark.parametrize("container", ["base_model", "model_state_dict", "model", "state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_file_in_any_container(tmp_path, container, prefix):
    source, path = make_pretrainer(), tmp_path / "a.pth"
    state = {prefix + key: value for key, value in to_published(source.state_dict()).items()}
    state |= {f"{prefix}img_encoder.{row}": torch.ones(1) for row in range(5)}
    torch.save(state if container is None else {container: state, "epoch": 300}, path)
    model = make()
    report = str(load_weights(model, path, may_lack=("head.",)))
    assert all(
        torch.equal(value, model.state_dict()[f"encoder.{key}"]) for key, value in source.encoder.state_dict().items()
    )
    assert "72 tensors" in report and "a published ReCon pretraining file" in report
    assert "since such a file has none: head (2)" in report
    assert "not needed here: teachers (5), " in report and "decoder (" in report and "image projection (2)" in report


def test_sizes_of_a_published_file_are_compared(tmp_path):
    torch.save({"base_model": to_published(make_pretrainer(decoder_depth=2).state_dict())}, tmp_path / "a.pth")
    with pytest.raises(
        InputError, match=r"published ReCon pretraining.*model\.decoder_depth is 2 in the file and 1 here"
    ):
        load_weights(make_pretrainer(), tmp_path / "a.pth")


def test_safetensors_with_its_config(tmp_path):
    source, path = make(), tmp_path / "a.safetensors"
    write_safetensors(to_published(source.state_dict()), {"config": {"model": {"num_heads": 2}}}, path)
    model = make()
    assert load_weights(model, path).num_loaded == len(source.state_dict())
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in source.state_dict().items())
    with pytest.raises(InputError, match=r"model\.num_heads"):
        load_weights(make(num_heads=4), path)


@pytest.mark.parametrize("make_model", [make_pretrainer, make])
def test_point_mae_starts_the_local_stream(tmp_path, make_model):
    state, model = point_mae(), make_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.save({"base_model": state}, tmp_path / "a.pth")
    report = str(load_weights(model, tmp_path / "a.pth", may_lack=("head.",)))
    assert "Point-MAE pretraining file" in report and "global queries and their layers (26)" in report
    assert "a start for training, not a copy" in report
    after = model.state_dict()
    assert torch.equal(after["encoder.blocks.1.attn.qkv.weight"], state["MAE_encoder.blocks.blocks.1.attn.qkv.weight"])
    stays = [key for key in before if "query" in key or "_contrast." in key or key.startswith(("head.", "image_proj."))]
    assert all(torch.equal(before[key], after[key]) for key in stays) and len(stays) >= 28


def test_act_starts_tower_1(tmp_path):
    state, model = point_mae("ACT_encoder."), make_pretrainer(TwoTower, TwoTowerEncoder)
    state = {key.replace("MAE_decoder.", "ACT_decoder."): x for key, x in state.items() if "increase_dim" not in key}
    torch.save({"base_model": state}, tmp_path / "a.pth")
    report = load_weights(model, tmp_path / "a.pth")
    assert "ACT_decoder (" in str(report) and "decoder (" in str(report) and not report.notes
    torch.save({"base_model": state | ACT_CLASS_TOKEN}, tmp_path / "a.pth")
    assert "has no place here" in str(load_weights(model, tmp_path / "a.pth"))
    assert torch.equal(model.encoder.pos_embed[0].weight, state["ACT_encoder.pos_embed.0.weight"])


def test_acts_class_token_takes_part_in_tower_1(tmp_path):
    """As in ACT's own encoder: [class, patches] through plain blocks, positions added before each."""
    state = point_mae("ACT_encoder.") | ACT_CLASS_TOKEN
    torch.save({"base_model": state}, tmp_path / "a.pth")
    network, info = load_pretrained(tmp_path / "a.pth", num_heads=2, num_groups=8, group_size=4)
    encoder, points = network.encoder, torch.randn(3, 60, 3)
    assert info.config["model"]["type"] == "TwoTower" and info.kind == "published ACT pretraining"
    patches, centers = encoder.group(points)
    x = torch.cat([ACT_CLASS_TOKEN["ACT_encoder.cls_token"].expand(3, -1, -1), encoder.patch_embed(patches)], dim=1)
    place = ACT_CLASS_TOKEN["ACT_encoder.cls_pos"].expand(3, -1, -1)
    positions = torch.cat([place, encoder.pos_embed(centers)], dim=1)
    for block in encoder.blocks:
        x = x + positions
        x = x + block.attn(block.norm1(x))
        x = x + block.mlp(block.norm2(x))
    torch.testing.assert_close(encoder.embed(points)[1], encoder.norm(x)[:, 1:], rtol=0, atol=1e-5)


def test_acts_class_token_starts_that_of_a_classifier(tmp_path):
    torch.save({"base_model": point_mae("ACT_encoder.") | ACT_CLASS_TOKEN}, tmp_path / "a.pth")
    model = TwoTowerClassifier(TwoTowerEncoder(24, 2, 2, 8, 4), 3, "linear")
    load_weights(model, tmp_path / "a.pth", may_lack=("head.",))
    assert torch.equal(model.cls_token, ACT_CLASS_TOKEN["ACT_encoder.cls_token"])


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "model.module.", "_orig_mod.model."])
def test_wrapped_files_of_ours(saved, tmp_path, prefix):
    state = {prefix + key: value for key, value in saved[0].state_dict().items()}
    torch.save({"module": state}, tmp_path / "b.pth")
    assert load_weights(make(), tmp_path / "b.pth").num_loaded == len(state)


def test_missing_batch_counts(saved, tmp_path):
    state = {key: x for key, x in saved[0].state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save({"base_model": state}, tmp_path / "b.pth")
    model = make()
    assert "does not say of how many batches" in str(load_weights(model, tmp_path / "b.pth"))
    norm = model.encoder.patch_embed.norm1
    before = norm.running_mean.clone()
    model.train()(torch.randn(4, 30, 3) + 5)
    assert 0 < (norm.running_mean - before).norm() < 0.2 * before.norm() + 1  # kept, and moved by a tenth


def test_what_lies_beside_the_weights_is_left_and_said(saved, tmp_path):
    content = {"base_model": saved[0].state_dict(), "args": Namespace(lr=1), "curve": np.arange(3.0), "epoch": 4}
    torch.save(content, tmp_path / "b.pth")
    assert read_checkpoint(tmp_path / "b.pth")["epoch"] == 4
    report = str(load_weights(make(), tmp_path / "b.pth"))
    assert "left unread" in report and "Namespace" in report


def test_other_points_than_in_training_are_said(saved, tmp_path):
    config = {"data": {"num_points": 1024}, "model": {"num_groups": 64, "num_heads": 2}}
    save_checkpoint({"base_model": saved[0].state_dict(), "config": config}, tmp_path / "b.pth")
    cfg = {"epochs": 0, "data": {"num_points": 2048}, "model": {"num_groups": 64}}
    report = str(load_weights(make(), tmp_path / "b.pth", cfg=cfg))
    assert "trained with data.num_points=1024, here it is 2048" in report and "num_groups" not in report
    assert "NOTE" not in str(load_weights(make(), tmp_path / "b.pth", cfg={**cfg, "epochs": 1}))


def test_another_block_is_refused(saved, tmp_path):
    """The layers of a pre-norm block have the names and shapes of ReCon's."""
    other = PointClassifier(PointEncoder(24, 2, 2, 8, 4, block="PreNormBlock"), 3, "linear")
    for config in ({"num_heads": 2}, {"num_heads": 2, "block": "ReConBlock"}):
        save_checkpoint({"base_model": saved[0].state_dict(), "config": {"model": config}}, tmp_path / "b.pth")
        with pytest.raises(InputError, match="model.block is ReConBlock in the file and PreNormBlock here"):
            load_weights(other, tmp_path / "b.pth")


def test_a_two_tower_file_gives_its_classifier_all_but_head_and_class_token(tmp_path):
    source = make_pretrainer(TwoTower, TwoTowerEncoder)
    save_checkpoint({"base_model": source.state_dict()}, tmp_path / "a.pth")
    model = TwoTowerClassifier(TwoTowerEncoder(24, 2, 2, 8, 4), 3, "linear")
    report = load_weights(model, tmp_path / "a.pth", may_lack=("head.",))
    assert report.num_loaded == len(source.encoder.state_dict())
    assert "class token (2)" in str(report) and "a TwoTower pretraining file" in str(report)
    with pytest.raises(InputError, match=r"model\.type is TwoTower in the file and ReCon here"):
        load_weights(make(), tmp_path / "a.pth", may_lack=("head.",))


def test_networks_that_are_not_known(tmp_path):
    torch.save({"base_model": {"transformer_q.encoder.first_conv.0.weight": torch.ones(1)}}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="a.pth.*not known here"):
        read_checkpoint(tmp_path / "a.pth")


def test_what_is_skipped_may_be_of_any_size(tmp_path):
    source, model = make_pretrainer(decoder_depth=2), make_pretrainer()
    config = {"model": {"num_heads": 2, "decoder_num_heads": 3}}
    save_checkpoint({"base_model": source.state_dict(), "config": config}, tmp_path / "a.pth")
    before = model.decoder.coords.weight.clone()
    report = load_weights(model, tmp_path / "a.pth", skip=("decoder.",))
    assert torch.equal(model.encoder.query_tokens, source.encoder.query_tokens)
    assert torch.equal(model.decoder.coords.weight, before)
    assert not report.initial and len(report.ignored) == len(source.decoder.state_dict())
    with pytest.raises(InputError, match=r"decoder_depth.*decoder_num_heads"):
        load_weights(model, tmp_path / "a.pth")


@pytest.mark.parametrize(
    "spoil", [lambda x: x * torch.nan, lambda x: x.double() * 1e300, torch.Tensor.long, torch.Tensor.cfloat]
)
def test_weights_that_are_no_finite_numbers_are_refused(saved, tmp_path, spoil):
    model, other = saved[0], make()
    state = model.state_dict() | {"encoder.query_tokens": spoil(model.encoder.query_tokens.detach() + 1)}
    save_checkpoint({"base_model": state}, tmp_path / "b.pth")
    before = other.head[0].weight.clone()
    with pytest.raises(InputError, match=r"b\.pth' is damaged: 'encoder\.query_tokens' has values that are not finite"):
        load_weights(other, tmp_path / "b.pth")
    assert torch.equal(other.head[0].weight, before)


@pytest.mark.parametrize("name", ["running_var", "num_batches_tracked"])
def test_statistics_that_cannot_be_negative_are_refused(saved, tmp_path, name):
    """The square root of such a variance is NaN, and every object would be taken for the first class."""
    model, other = saved[0], make()
    state = model.state_dict()
    key = next(key for key in state if key.endswith(name))
    save_checkpoint({"base_model": state | {key: -state[key] - 1}}, tmp_path / "b.pth")
    with pytest.raises(InputError, match=r"is damaged.*a variance below zero"):
        load_weights(other, tmp_path / "b.pth")
