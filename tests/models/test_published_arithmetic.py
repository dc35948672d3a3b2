"""The network reproduces what the published implementation computes, number for number (see the fixture's README)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.classifier import PointClassifier
from models.encoder import PointEncoder
from models.heads import probe_feature
from models.official import from_published, to_published
from models.patch_embed import select_rows
from models.recon import ReCon

FIXTURE = Path(__file__).parents[1] / "fixtures" / "official_tiny"
TOLERANCE = 1e-5
SMOOTH_L1 = {"type": "smooth_l1", "weight": 1.0, "temperature": 1.0, "normalize": False}
LOSS = {
    "chamfer": {"type": "l2", "weight": 1.0},
    "image": SMOOTH_L1,
    "text": SMOOTH_L1,
    "contrast": {"weight": 1.0, "temperature": 0.1, "dim": 128},
}


@pytest.fixture(scope="module")
def expected():
    return dict(np.load(FIXTURE / "expected.npz", allow_pickle=False))


def load(name):
    return torch.load(FIXTURE / name, weights_only=True, map_location="cpu")["base_model"]


def make_encoder(stop_grad):
    config = json.loads((FIXTURE / "config.json").read_text())
    return PointEncoder(
        config["trans_dim"],
        config["depth"],
        config["num_heads"],
        config["num_group"],
        config["group_size"],
        drop_path=0.0,
        stop_grad=stop_grad,
    )


def make_recon():
    model = ReCon(
        make_encoder(stop_grad=True),
        decoder_depth=1,
        decoder_num_heads=3,
        decoder_drop_path=0.0,
        mask_ratio=0.6,
        mask_type="random",
        image_dim=24,
        text_dim=20,
        loss=LOSS,
    )
    model.load_state_dict(from_published(load("pretrain.pth")), strict=True)
    return model


def batch(expected):
    names = [str(name) for name in expected["labels"]]
    return {
        "points": torch.from_numpy(expected["points"]),
        "mask": torch.from_numpy(expected["mask"]),
        "image_feature": torch.from_numpy(expected["img_feature"]),
        "text_feature": torch.from_numpy(expected["text_feature"]),
        "labels": torch.tensor([sorted(set(names)).index(name) for name in names]),
    }


def assert_close(actual, expected):
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_pretraining_outputs_and_losses(expected, mode):
    model, inputs = make_recon().train(mode == "train"), batch(expected)
    patches, centers = model.encoder.group(inputs["points"])
    assert_close(centers, expected["out.center"])
    queries, tokens = model.encoder(patches, centers, inputs["mask"])
    rebuilt = model.decoder(tokens, centers, inputs["mask"])
    for column, name in enumerate(("cls", "img_token", "text_token")):
        wanted = expected[f"out.{mode}.{name}"]
        assert_close(queries[:, column], wanted.reshape(queries[:, column].shape))
    assert_close(tokens, expected[f"out.{mode}.vis"])
    assert_close(rebuilt, expected[f"out.{mode}.rebuilt"].reshape(rebuilt.shape))
    target = select_rows(patches, inputs["mask"])
    teachers = (inputs["image_feature"], inputs["text_feature"], inputs["labels"])
    terms = model.forward_loss(queries, rebuilt, target, *teachers)
    for ours, published in (("chamfer", "mdm"), ("image", "csc_img"), ("text", "csc_text"), ("self", "smc")):
        assert_close(terms[ours], expected[f"out.{mode}.loss.{published}"])


def test_gradients_and_running_statistics_after_one_training_step(expected):
    # In float64, so that our own rounding does not count: the cls query's gradient passes two batch-norms over four
    # samples, and there float32 on different thread counts differs by as much as the tolerance.
    model = make_recon().train().double()
    inputs = {name: x.double() if x.is_floating_point() else x for name, x in batch(expected).items()}
    total = sum(model(**inputs).values())
    assert_close(total, expected["out.train.total"])
    total.backward()
    gradients = to_published({name: parameter.grad for name, parameter in model.named_parameters()})
    checked = 0
    for key, gradient in gradients.items():
        wanted = expected[f"grad.{key}"].reshape(gradient.shape)
        norm = np.linalg.norm(wanted)
        if norm < 1e-5:  # a bias in front of a batch-norm: its true gradient is zero
            continue
        tolerance = 5e-3 if key.startswith("MAE_encoder.encoder.") else 1e-4
        assert np.linalg.norm(gradient.numpy() - wanted) / norm < tolerance, key
        checked += 1
    assert checked > 70
    state = to_published(model.state_dict())
    statistics = [key.removeprefix("bn.") for key in expected if key.startswith("bn.")]
    assert len(statistics) == 8
    for key in statistics:
        np.testing.assert_allclose(state[key].numpy(), expected[f"bn.{key}"], rtol=0, atol=TOLERANCE, err_msg=key)


@pytest.mark.parametrize(("name", "head"), [("full", "mlp3"), ("linear", "linear")])
def test_classifier_logits(expected, name, head):
    model = PointClassifier(make_encoder(stop_grad=False), 7, head).eval()
    model.load_state_dict(from_published(load(f"cls_{name}.pth")), strict=True)
    assert_close(model(torch.from_numpy(expected["points"])), expected[f"out.cls.{name}"])


def test_probe_and_zero_shot_features(expected):
    model = make_recon().eval()
    queries, tokens = model.encoder.embed(torch.from_numpy(expected["points"]))
    assert_close(probe_feature(queries, tokens), expected["out.svm"])
    image, text = model.project(queries)
    assert_close(image, expected["out.zeroshot.image"])
    assert_close(text, expected["out.zeroshot.text"])


@pytest.mark.parametrize("name", ["pretrain.pth", "cls_full.pth", "cls_linear.pth"])
def test_key_names_map_both_ways(name):
    published = load(name)
    back = to_published(from_published(published))
    assert back.keys() == published.keys()
    assert all(torch.equal(back[key], published[key]) for key in published)
