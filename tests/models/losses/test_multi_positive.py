"""Losses with several positives a shape, their values and gradients against plain loops."""

import math

import pytest
import torch
from torch.nn import functional as F

from pointrecon.models.losses import DISTILLATIONS
from pointrecon.models.losses.distillation import Distillation
from pointrecon.models.losses.multi_positive import decoupled, multi_infonce, siglip
from pointrecon.utils.errors import InputError

T, B, R, Q, D = 0.2, 4, 3, 2, 5


@pytest.fixture
def inputs():
    """Students (4, 2, 5), targets (4, 3, 5) and which are there: 3, 2, 1 and none."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(B, Q, D, generator=generator, dtype=torch.float64)
    teacher = torch.randn(B, R, D, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]]).bool()
    teacher[~mask] = torch.nan  # what is not there may be anything
    return student, teacher, mask


def similarities(student, teacher):
    z = [F.normalize(F.normalize(row, dim=-1).mean(dim=0), dim=0) for row in student]
    t = [[F.normalize(target, dim=0) for target in row] for row in teacher]
    return lambda shape, of, number: z[shape] @ t[of][number]


def loop_contrast(student, teacher, mask, is_decoupled):
    s, there = similarities(student, teacher), mask.nonzero().tolist()
    shapes = sorted({shape for shape, _ in there})
    total = 0
    for shape in shapes:
        own = [number for of, number in there if of == shape]
        among = [(of, number) for of, number in there if of != shape or not is_decoupled]
        denominator = sum(torch.exp(s(shape, of, number) / T) for of, number in among).log()
        one = sum(s(shape, shape, number) / T - denominator for number in own) / len(own)
        others = [other for other in shapes if other != shape or not is_decoupled]
        two = 0
        for number in own:
            denominator = sum(torch.exp(s(other, shape, number) / T) for other in others).log()
            two = two + (s(shape, shape, number) / T - denominator) / len(own)
        total = total - (one + two) / 2
    return total / len(shapes)


def loop_siglip(student, teacher, mask, bias):
    s, there = similarities(student, teacher), mask.nonzero().tolist()
    shapes = sorted({shape for shape, _ in there})
    total = 0
    for of in shapes:
        own = [number for shape, number in there if shape == of]
        for shape in range(B):
            for number in own:
                sign = 1 if shape == of else -1
                total = total - F.logsigmoid(sign * (s(shape, of, number) / T + bias)) / len(own)
    return total / len(shapes)


CASES = {
    "multi_infonce": (multi_infonce, lambda *x: loop_contrast(*x, False)),
    "decoupled": (decoupled, lambda *x: loop_contrast(*x, True)),
    "siglip": (lambda **x: siglip(**x, bias=-2.0), lambda *x: loop_siglip(*x, -2.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_those_of_a_loop(inputs, name):
    loss, loop = CASES[name]
    student, teacher, mask = inputs
    ours, theirs = (student.clone().requires_grad_() for _ in range(2))
    value, wanted = loss(student=ours, teacher=teacher, mask=mask, temperature=T), loop(theirs, teacher, mask)
    torch.testing.assert_close(value, wanted)
    (grad,), (expected,) = (torch.autograd.grad(x, leaf) for x, leaf in ((value, ours), (wanted, theirs)))
    torch.testing.assert_close(grad, expected)
    assert grad.isfinite().all()


@pytest.mark.parametrize("name", CASES)
def test_no_target_at_all_is_zero(inputs, name):
    student, teacher, mask = inputs
    student.requires_grad_()
    value = CASES[name][0](student=student, teacher=teacher, mask=torch.zeros_like(mask), temperature=T)
    (grad,) = torch.autograd.grad(value, student)
    assert value.item() == 0 and not grad.any()


@pytest.mark.parametrize("name", ["multi_infonce", "decoupled"])
def test_one_shape_alone(name):
    student = torch.randn(1, 5, requires_grad=True)
    value = CASES[name][0](student=student, teacher=torch.randn(1, 1, 5), temperature=T)
    assert value.item() == pytest.approx(0, abs=1e-6)


def test_one_target_each_is_infonce():
    student, teacher = torch.randn(6, 5), torch.randn(6, 5)
    wanted = DISTILLATIONS.get("infonce")(student=student, teacher=teacher, temperature=T)
    torch.testing.assert_close(multi_infonce(student=student, teacher=teacher, temperature=T), wanted)


@pytest.mark.parametrize(("name", "learns_bias"), [("infonce", False), ("multi_infonce", False), ("siglip", True)])
def test_a_learnt_temperature_starts_where_it_is_set_and_has_a_gradient(make_recon, points, name, learns_bias):
    options = {"temperature": 0.1, "learn_temperature": True}
    network = make_recon(teachers={"text": Distillation(7, DISTILLATIONS.get(name), **options)})
    plain = make_recon(teachers={"text": Distillation(7, DISTILLATIONS.get(name), temperature=0.1)})
    plain.load_state_dict(network.state_dict(), strict=False)
    targets = {"text": torch.randn(4, 7, generator=torch.Generator().manual_seed(0))}
    terms = [
        model.eval()(points, targets, generator=torch.Generator().manual_seed(0))["text"] for model in (network, plain)
    ]
    torch.testing.assert_close(*terms)
    terms[0].backward()
    assert network.text_scale.item() == pytest.approx(math.log(10)) and network.text_scale.grad.abs() > 0
    assert hasattr(network, "text_bias") == learns_bias
    assert not learns_bias or network.text_bias.grad.abs() > 0
    assert "text_scale" in network.may_lack and not hasattr(plain, "text_scale")


def test_a_loss_without_a_temperature_learns_none():
    with pytest.raises(InputError, match="has no temperature"):
        Distillation(7, DISTILLATIONS.get("cosine"), learn_temperature=True)
