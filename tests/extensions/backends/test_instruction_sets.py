"""The CPU library gives the same bytes whatever vectors it is compiled for."""

import platform
import shutil

import pytest
import torch

from pointrecon.extensions import build
from pointrecon.extensions.backends import compiled, library

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the processor is of another kind"),
    pytest.mark.skipif(not library.is_available("cpu"), reason="the CPU library is not built"),
    pytest.mark.skipif(not any(shutil.which(name) for name in build.COMPILERS), reason="there is no C++ compiler"),
]


@pytest.fixture
def use_level(tmp_path, monkeypatch):
    """Compiles the library for a level of instructions and puts it in the place of this machine's."""

    def use(level):
        path = tmp_path / "point_ops.so"
        assert build.compile_level(level, path) == ""
        monkeypatch.setattr(build, "library_path", lambda: path)
        library.load.cache_clear()

    yield use
    library.load.cache_clear()


def results(clouds):
    """What every operation makes of clouds with and without ties, of sizes that fill vectors and do not."""
    found = []
    for points in clouds:
        num_points = points.shape[1]
        queries = points.flip(1)[:, :37] + 0.01
        samples, k = min(64, num_points), min(32, num_points)
        found += [compiled.fps(points, samples), compiled.knn(points, queries, k)]
        found += [*compiled.patchify(points, samples, k), *compiled.nearest(queries, points)]
        found += compiled.three_nn(queries, points) if num_points >= 3 else ()
        a, b = points.clone().requires_grad_(), queries.clone().requires_grad_()
        found += torch.autograd.grad(compiled.chamfer_distance(a, b), (a, b))
    draw = torch.Generator().manual_seed(0)
    for width in (1, 5, 16, 33):
        x, weight = torch.randn(6, 7, width, generator=draw), torch.randn(19, width, generator=draw)
        for relu in (False, True):
            inputs = x.requires_grad_(), weight.requires_grad_()
            pooled = compiled.linear_max(*inputs, relu)
            found += [pooled.detach(), *torch.autograd.grad(pooled.square().sum(), inputs)]
    for width in (0, 1, 5, 40):
        points = torch.randint(-9, 9, (2, 150, width), generator=draw).float()  # exact, and ties
        found += compiled.knn_wide(points, points[:, :23].contiguous(), 9)
    return found


def attention_results():
    """Sums alone, which a machine may form in fewer roundings than another."""
    draw = torch.Generator().manual_seed(0)
    found = []
    for num_tokens, width in ((1, 16), (26, 64), (67, 48)):
        qkv = torch.randn(2, num_tokens, 3, 2, width, generator=draw).requires_grad_()
        out = compiled.attention(qkv)
        found += [out.detach(), *torch.autograd.grad(out.square().sum(), qkv)]
    return found


@pytest.mark.parametrize("level", build.LEVELS["x86_64"], ids=lambda level: level.name)
def test_the_bytes_are_those_of_this_machine(level, use_level, clouds):
    if level not in build.usable_levels():
        pytest.skip(f"the processor has no {level.name}")
    large = torch.rand(2, 3000, 3, generator=torch.Generator().manual_seed(0))  # more tiles than are looked into
    expected = results([*clouds, large])
    expected_sums = attention_results()
    use_level(level)
    for number, (one, two) in enumerate(zip(expected, results([*clouds, large]), strict=True)):
        assert torch.equal(one, two), f"{level.name}: result {number}"
    for one, two in zip(expected_sums, attention_results(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
