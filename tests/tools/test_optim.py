"""Parameter groups and the schedule."""

import pytest
import torch

from models.classifier import PointClassifier
from models.encoder import PointEncoder
from tools.optim import CosineSchedule, make_optimizer, parameter_groups
from utils.errors import InputError

OPTIONS = {
    "type": "AdamW",
    "lr": 1e-3,
    "weight_decay": 0.05,
    "betas": [0.9, 0.999],
    "warmup_epochs": 2,
    "warmup_lr": 1e-6,
    "min_lr": 1e-5,
    "grad_clip": None,
    "head_lr_scale": 10.0,
    "layer_decay": 1.0,
}


def make(freeze=False):
    return PointClassifier(PointEncoder(24, 2, 2, 8, 4), 3, "mlp3", freeze_backbone=freeze)


def settings(model, options=OPTIONS):
    """{parameter name: (lr_scale, weight_decay)}"""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, options)
    return {names[id(p)]: (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_every_parameter_is_in_one_group_with_the_published_settings():
    model = make()
    found = settings(model)
    assert found.keys() == dict(model.named_parameters()).keys()
    assert found["encoder.blocks.0.mlp.fc1.weight"] == (1.0, 0.05)
    assert found["encoder.blocks.0.mlp.fc1.bias"] == (1.0, 0.0)
    assert found["encoder.norm.weight"] == (1.0, 0.0)
    assert found["encoder.query_tokens"] == (1.0, 0.0)
    assert found["encoder.query_positions"] == (1.0, 0.05)
    assert found["head.0.weight"] == (10.0, 0.05)
    assert found["head.1.weight"] == (10.0, 0.0)


def test_layer_decay_slows_down_the_early_layers():
    found = settings(make(), {**OPTIONS, "layer_decay": 0.5})
    assert [found[f"encoder.{name}"][0] for name in ("patch_embed.fc1.weight", "blocks.0.mlp.fc1.weight")] == [
        0.25,
        0.5,
    ]
    assert found["encoder.blocks.1.mlp.fc1.weight"][0] == 1.0
    assert found["head.0.weight"][0] == 10.0


def test_a_frozen_backbone_is_left_out():
    assert all(name.startswith("head.") for name in settings(make(freeze=True)))
    model = make(freeze=True).requires_grad_(False)
    with pytest.raises(InputError, match="nothing is left to train"):
        make_optimizer(model, OPTIONS)


def test_schedule_warms_up_then_falls_as_a_half_cosine():
    schedule = CosineSchedule(OPTIONS, steps_per_epoch=10, epochs=6)
    rates = [schedule.lr(step) for step in range(60)]
    assert rates[0] == pytest.approx(1e-6 + (1e-3 - 1e-6) / 20)
    assert rates[19] == pytest.approx(1e-3) and max(rates) == pytest.approx(1e-3)
    assert rates[40] == pytest.approx((1e-3 + 1e-5) / 2)
    assert 1e-5 < rates[59] < 1.2e-5
    assert all(a > b for a, b in zip(rates[20:], rates[21:], strict=False))
    optimizer = make_optimizer(make(), OPTIONS)
    assert schedule.apply(optimizer, 19) == pytest.approx(1e-3)
    assert {round(group["lr"], 9) for group in optimizer.param_groups} == {1e-3, 1e-2}


def test_a_warm_up_longer_than_the_run_is_cut():
    schedule = CosineSchedule({**OPTIONS, "warmup_epochs": 10}, steps_per_epoch=5, epochs=1)
    assert schedule.lr(4) == pytest.approx(1e-3)


def test_fused_steps_are_those_of_plain_adamw():
    torch.manual_seed(0)
    a, b = make(), make()
    b.load_state_dict(a.state_dict())
    fused = make_optimizer(a, {**OPTIONS, "head_lr_scale": 1.0})
    plain = torch.optim.AdamW(parameter_groups(b, {**OPTIONS, "head_lr_scale": 1.0}), lr=1e-3, fused=False)
    points = torch.randn(4, 64, 3)
    for model, optimizer in ((a, fused), (b, plain)):
        torch.manual_seed(1)
        model(points).square().mean().backward()
        optimizer.step()
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y, atol=1e-6, rtol=1e-5)
