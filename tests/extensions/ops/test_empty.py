"""Sizes of zero and one, forward and backward: what the reference gives, or a refusal that names the argument."""

import pytest
import torch

from pointrecon.extensions import dispatch, ops, use_backend


@pytest.fixture(autouse=True)
def needs_library():
    if reason := dispatch.why_unavailable("compiled", "cpu"):
        pytest.skip(reason)
    yield
    use_backend(None)


def index(*shape):
    return torch.zeros(shape, dtype=torch.int64)


# Call, shapes of its tensors. A K of 0 in linear_max and no cloud are refused, see test_checks.py and test_ops.py.
CALLS = {
    "fps, one point": (lambda x: ops.fps(x, 1), (2, 1, 3)),
    "knn, no query": (lambda x, y: ops.knn(x, y, 2), (2, 5, 3), (2, 0, 3)),
    "knn, one point": (lambda x, y: ops.knn(x, y, 1), (2, 1, 3), (2, 4, 3)),
    "patchify, one point": (lambda x: ops.patchify(x, 1, 1), (2, 1, 3)),
    "gather, no index": (lambda x: ops.gather(x, index(2, 0)), (2, 5, 4)),
    "gather, no channel": (lambda x: ops.gather(x, index(2, 3)), (2, 5, 0)),
    "group, no query": (lambda x: ops.group(x, index(2, 0, 3)), (2, 5, 4)),
    "group, no neighbor": (lambda x: ops.group(x, index(2, 3, 0)), (2, 5, 4)),
    "group, no channel": (lambda x: ops.group(x, index(2, 3, 2)), (2, 5, 0)),
    "three_nn, no query": (lambda x, y: ops.three_nn(x, y), (2, 0, 3), (2, 5, 3)),
    "three_nn, three points": (lambda x, y: ops.three_nn(x, y), (2, 2, 3), (2, 3, 3)),
    "three_interpolate, no query": (lambda x, w: ops.three_interpolate(x, index(2, 0, 3), w), (2, 5, 4), (2, 0, 3)),
    "three_interpolate, no channel": (lambda x, w: ops.three_interpolate(x, index(2, 3, 3), w), (2, 5, 0), (2, 3, 3)),
    "chamfer, one point": (lambda x, y: ops.chamfer_distance(x, y, 1), (2, 1, 3), (2, 1, 3)),
    "linear_max, no row": (lambda x, w: ops.linear_max(x, w), (0, 3, 8), (5, 8)),
    "linear_max, no channel": (lambda x, w: ops.linear_max(x, w), (4, 3, 8), (0, 8)),
    "linear_max, one point, no channel": (lambda x, w: ops.linear_max(x, w), (1, 1, 8), (0, 8)),
    "linear_max, no width": (lambda x, w: ops.linear_max(x, w, True), (4, 3, 0), (5, 0)),
    "linear_max, nothing": (lambda x, w: ops.linear_max(x, w), (0, 3, 0), (0, 0)),
    "attention, no sample": (lambda x: ops.attention(x), (0, 4, 3, 2, 16)),
    "attention, no head": (lambda x: ops.attention(x), (2, 4, 3, 0, 16)),
    "attention, no width": (lambda x: ops.attention(x), (2, 4, 3, 2, 0)),
    "attention, no token": (lambda x: ops.attention(x), (2, 0, 3, 2, 16)),
    "cross_attention, no query": (lambda q, x: ops.cross_attention(q, x), (2, 0, 2, 16), (2, 4, 2, 2, 16)),
    "cross_attention, no sample": (lambda q, x: ops.cross_attention(q, x), (0, 3, 2, 16), (0, 4, 2, 2, 16)),
    "cross_attention, no head": (lambda q, x: ops.cross_attention(q, x), (2, 3, 0, 16), (2, 4, 2, 0, 16)),
    "cross_attention, no width": (lambda q, x: ops.cross_attention(q, x), (2, 3, 2, 0), (2, 4, 2, 2, 0)),
}


def compute(backend, call, shapes):
    """Results, then gradients where there are some."""
    use_backend(backend)
    draw = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=draw).requires_grad_() for shape in shapes]
    outputs = call(*inputs)
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    losses = [out.sum() for out in outputs if out.requires_grad]
    grads = torch.autograd.grad(losses, inputs, allow_unused=True) if losses else []
    return [out.detach() for out in outputs] + [
        torch.zeros_like(x) if grad is None else grad for x, grad in zip(inputs, grads, strict=bool(losses))
    ]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", CALLS)
def test_the_answer_is_the_references(name, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    call, *shapes = CALLS[name]
    for one, two in zip(compute("compiled", call, shapes), compute("reference", call, shapes), strict=True):
        torch.testing.assert_close(one, two, equal_nan=True)
