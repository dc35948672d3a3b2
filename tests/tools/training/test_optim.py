"""Parameter groups and the schedules."""

import math

import pytest
import torch

from pointrecon.models.classifier import PointClassifier
from pointrecon.models.encoder import PointEncoder
from pointrecon.tools.training.optim import (
    CosineSchedule,
    PublishedSchedule,
    make_optimizer,
    move_cls_with_head,
    parameter_groups,
)
from pointrecon.utils.errors import InputError

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


def test_the_published_schedule_is_an_epoch_late_and_an_epoch_longer():
    options = {**OPTIONS, "warmup_epochs": 10, "lr": 5e-4, "min_lr": 1e-6}
    schedule = PublishedSchedule(options, steps_per_epoch=7, epochs=301)
    rates = [schedule.lr(7 * epoch) for epoch in range(301)]
    assert rates[0] == rates[1] == 1e-6 and rates[2] == pytest.approx(1e-6 + 4.99e-5)
    assert schedule.lr(6) == rates[0] and schedule.lr(7 * 5 + 6) == rates[5]  # constant within an epoch
    # timm's cosine runs from epoch 0, the warm-up laid over it: epoch 150 of 300 is its middle.
    assert rates[151] == pytest.approx((5e-4 + 1e-6) / 2)
    assert max(rates) == rates[11] < 5e-4 and rates[300] == pytest.approx(
        1e-6 + 4.99e-4 * (1 + math.cos(math.pi * 299 / 300)) / 2
    )


@pytest.mark.parametrize("is_frozen", [False, True])
def test_the_published_cls_query_learns_as_a_part_of_the_head(is_frozen):
    """Against an optimizer that has the row as a parameter of its own, in the head's group."""
    torch.manual_seed(0)
    model, gradient = make(), torch.randn(2, 5, 1, 3, 24)
    queries = [model.encoder.query_tokens, model.encoder.query_positions]
    start = [query.detach().clone() for query in queries]
    optimizer = make_optimizer(model, OPTIONS, decays_head=True)
    move_cls_with_head(optimizer, model.encoder, OPTIONS, is_frozen=is_frozen)
    wanted = [query[:, :1].clone().requires_grad_() for query in start]
    others = [query[:, 1:].clone().requires_grad_() for query in start]
    groups = [{"params": wanted, "lr": 1e-2, "weight_decay": 0.05}]
    groups += [
        {"params": [other], "lr": 1e-3, "weight_decay": decay} for other, decay in zip(others, (0.0, 0.05), strict=True)
    ]
    twin = torch.optim.AdamW(groups, betas=(0.9, 0.999))
    CosineSchedule({**OPTIONS, "warmup_epochs": 0}, 10**9, 1).apply(optimizer, 0)
    for step in range(5):
        for row, query in enumerate(queries):
            query.grad = gradient[row, step].clone()
            wanted[row].grad, others[row].grad = gradient[row, step][:, :1].clone(), gradient[row, step][:, 1:].clone()
        optimizer.step()
        twin.step()
    for query, cls, other, old in zip(queries, wanted, others, start, strict=True):
        torch.testing.assert_close(query[:, :1], cls)
        torch.testing.assert_close(query[:, 1:], old[:, 1:] if is_frozen else other)
