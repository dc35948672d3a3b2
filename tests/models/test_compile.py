"""The compiled network against the eager one; aot_eager makes and differentiates the graphs without compiling C++."""

import copy

import pytest
import torch
import torch._functorch.config

from pointrecon.models.patches.patch_embed import FoldedPointNet
from pointrecon.tools.training.parallel.wrap import keep_backward_as_it_is
from pointrecon.utils.seed import generator


@pytest.fixture
def inputs(points):
    return points, {"image": 3 * torch.randn(4, 10), "text": 3 * torch.randn(4, 7)}


def run(model, network, inputs):
    terms = network(*inputs, generator=generator("cpu", 3))
    sum(terms.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return terms, gradients, dict(model.named_buffers())


def test_losses_gradients_and_statistics_are_equal(make_recon, inputs):
    torch.compiler.reset()
    eager = make_recon({"depth": 1}).train()
    other = copy.deepcopy(eager)
    wanted = run(eager, eager, inputs)
    actual = run(other, torch.compile(other, backend="aot_eager"), inputs)
    for one, two in zip(actual, wanted, strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            torch.testing.assert_close(value, two[name], rtol=1e-4, atol=1e-6)


def test_the_drawing_of_the_mask_alone_stays_outside(make_recon, inputs):
    torch.compiler.reset()
    found = torch._dynamo.explain(make_recon().train())(*inputs, generator=generator("cpu", 3))
    assert (found.graph_count, found.graph_break_count) == (2, 1)


@pytest.mark.slow  # compiles C++
def test_inductor_is_equal_too(make_recon, inputs):
    torch.compiler.reset()
    eager = make_recon().train()
    other = copy.deepcopy(eager)
    wanted, actual = run(eager, eager, inputs)[0], run(other, torch.compile(other), inputs)[0]
    for name, value in actual.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-5)


def test_a_compiled_backward_pass_keeps_the_precisions_of_its_forward_pass():
    """Under autocast what is kept in float32 has a backward pass in float32 too."""
    if not hasattr(torch._functorch.config, "backward_pass_autocast"):
        pytest.skip("this torch cannot be told")
    torch.compiler.reset()
    with torch._functorch.config.patch(backward_pass_autocast="same_as_forward"):  # and as it was afterwards
        keep_backward_as_it_is()
        _compare_gradients()


def _compare_gradients():
    patches = torch.randn(4, 6, 8, 3, generator=torch.Generator().manual_seed(0))
    gradients = []
    for compile_it in (False, True):
        torch.manual_seed(0)
        model = FoldedPointNet(32, 16)
        network = torch.compile(model, backend="aot_eager") if compile_it else model
        with torch.autocast("cpu", torch.bfloat16):
            loss = network(patches).float().square().mean()
        loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for eager, compiled in zip(*gradients, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-3 * eager.abs().max().item())
