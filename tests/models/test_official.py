"""Key names of published checkpoints; test_published_arithmetic.py maps the published files themselves."""

import pytest
import torch

from models.classifier import PointClassifier
from models.official import from_published, is_published, strip_module, to_published

CONTRAST = {"contrast": {"weight": 1.0, "temperature": 0.1, "dim": 16}}


@pytest.fixture
def recon_state(make_recon):
    return make_recon(loss=CONTRAST).state_dict()


def test_our_pretraining_weights_survive_the_way_there_and_back(make_recon, recon_state):
    published = to_published(recon_state)
    other = make_recon(loss=CONTRAST)
    torch.nn.init.zeros_(other.encoder.query_tokens)
    other.load_state_dict(from_published(published), strict=True)
    for key, value in other.state_dict().items():
        assert torch.equal(value, recon_state[key]), key


@pytest.mark.parametrize("head", ["linear", "mlp3"])
def test_our_classifier_weights_survive_the_way_there_and_back(make_encoder, head):
    state = PointClassifier(make_encoder(), 5, head).state_dict()
    back = from_published(to_published(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_published_names_and_shapes(recon_state):
    published = to_published(recon_state)
    wanted = {
        "mask_token": (1, 1, 24),
        "MAE_encoder.cls_token": (1, 1, 24),
        "MAE_encoder.text_pos": (1, 1, 24),
        "MAE_encoder.encoder.first_conv.0.weight": (128, 3, 1),
        "MAE_encoder.encoder.second_conv.0.weight": (512, 512, 1),
        "MAE_encoder.encoder.second_conv.1.running_var": (512,),
        "MAE_encoder.blocks.blocks.1.attn_contrast.kv.weight": (48, 24),
        "MAE_decoder.blocks.0.attn.qkv.weight": (72, 24),
        "decoder_pos_embed.2.weight": (24, 128),
        "increase_dim.0.weight": (15, 24, 1),
        "img_proj.weight": (10, 24),
        "cls_proj.4.running_mean": (16,),
    }
    assert {key: tuple(published[key].shape) for key in wanted} == wanted


def test_queries_keep_their_order(recon_state):
    published = to_published(recon_state)
    for column, name in enumerate(("cls", "img", "text")):
        for ours, suffix in (("query_tokens", "token"), ("query_positions", "pos")):
            part = recon_state[f"encoder.{ours}"][:, column : column + 1]
            assert torch.equal(published[f"MAE_encoder.{name}_{suffix}"], part)


def test_prefixes_of_data_parallel_go(recon_state):
    published = to_published(recon_state)
    wrapped = {f"module.{key}": value for key, value in published.items()}
    assert strip_module(wrapped).keys() == published.keys()
    assert from_published(wrapped).keys() == recon_state.keys()


def test_teachers_inside_a_published_file_are_left_out(recon_state):
    published = to_published(recon_state)
    extra = {"img_encoder.blocks.0.attn.qkv.weight": torch.ones(3), "text_encoder.logit_scale": torch.ones(1)}
    assert from_published(published | extra).keys() == recon_state.keys()


def test_a_missing_query_is_missing_in_the_result(recon_state):
    published = to_published(recon_state)
    del published["MAE_encoder.img_token"]
    back = from_published(published)
    assert recon_state.keys() - back.keys() == {"encoder.query_tokens"}


def test_both_kinds_of_names_are_told_apart(recon_state):
    assert is_published(to_published(recon_state)) and not is_published(recon_state)
