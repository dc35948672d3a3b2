"""Calls every operation under everything that torch wraps calls in; test_wrappers.py runs this in a process of its own.

A line of JSON a call: the operation, the wrapper, and "same" or what went wrong. A crash ends the lines.
"""

import contextlib
import io
import json
import sys
import warnings

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from pointrecon.extensions import ops, use_backend
from tests.extensions.calls.operations import OPERATIONS, draw

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def many(outputs):
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)


def scalar(function):
    """The sum of what has a gradient, each element with a weight of its own."""

    def run(*inputs):
        floats = [out for out in many(function(*inputs)) if out.is_floating_point()]
        return sum((out * torch.linspace(0.5, 1.5, out.numel()).view(out.shape)).sum() for out in floats)

    return run


def same(actual, wanted):
    actual, wanted = many(actual), many(wanted)
    assert len(actual) == len(wanted)
    for one, two in zip(actual, wanted, strict=True):
        assert one.dtype == two.dtype, (one.dtype, two.dtype)
        torch.testing.assert_close(one, two, **CLOSE)


def same_shapes(actual, wanted):
    for one, two in zip(many(actual), many(wanted), strict=True):
        assert one.shape == two.shape and one.dtype == two.dtype


class Network(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


class Marked(torch.Tensor):
    """A subclass with nothing of its own."""


class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def trace(f, inputs, wanted):
    traced = torch.jit.trace(f, inputs, check_trace=False)
    same(traced(*inputs), wanted)
    same(traced(*(x.flip(0) for x in inputs)), f(*(x.flip(0) for x in inputs)))


def script(f, inputs, wanted):
    for name in ops.__all__:
        try:
            torch.jit.script(getattr(ops, name))
        except Exception as error:  # what torch says of Python that it cannot compile
            assert str(error)


def export(f, inputs, wanted):
    same(torch.export.export(Network(f), inputs, strict=False).module()(*inputs), wanted)


def onnx(f, inputs, wanted):
    file = io.BytesIO()
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(Network(f), inputs, file, dynamo=False, opset_version=17)
    try:
        import onnxruntime
    except ImportError:
        return  # that it can be written has to do
    session = onnxruntime.InferenceSession(file.getvalue())
    names = [entry.name for entry in session.get_inputs()]
    outputs = session.run(None, dict(zip(names, (x.numpy() for x in inputs), strict=True)))
    same(tuple(torch.from_numpy(out) for out in outputs), wanted)


def fake(f, inputs, wanted):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:  # the index
        same_shapes(f(*(mode.from_tensor(x) for x in inputs)), wanted)


def fake_from_plain(f, inputs, wanted):
    with FakeTensorMode(allow_non_fake_inputs=True):
        same_shapes(f(*inputs), wanted)


def functionalize(f, inputs, wanted):
    same(torch.func.functionalize(f)(*inputs), wanted)


def fx(mode):
    def run(f, inputs, wanted):
        same(make_fx(f, tracing_mode=mode, _allow_non_fake_inputs=True)(*inputs)(*inputs), wanted)

    return run


def vmap(f, inputs, wanted):
    stacked = [torch.stack([x, x.flip(1)]) for x in inputs]
    results = [many(f(*(x[i] for x in stacked))) for i in range(2)]
    same(torch.func.vmap(f)(*stacked), tuple(torch.stack(parts) for parts in zip(*results, strict=True)))


def vmap_of_one(f, inputs, wanted):
    if len(inputs) == 2:
        mapped = torch.func.vmap(lambda x: f(x, inputs[1]))(inputs[0][None])
        same(mapped, tuple(out[None] for out in many(wanted)))


def reference_gradients(f, inputs):
    """By autograd in double precision."""
    leaves = [x.double().requires_grad_() for x in inputs]
    loss = scalar(f)(*leaves)
    return tuple(grad.float() for grad in torch.autograd.grad(loss, leaves))


def has_gradient(wanted):
    return any(out.is_floating_point() for out in many(wanted))


def backward(f, inputs, wanted):
    if has_gradient(wanted):
        leaves = [x.clone().requires_grad_() for x in inputs]
        same(torch.autograd.grad(scalar(f)(*leaves), leaves), reference_gradients(f, inputs))


def grad(f, inputs, wanted):
    if has_gradient(wanted):
        numbers = tuple(range(len(inputs)))
        same(torch.func.grad(scalar(f), numbers)(*inputs), reference_gradients(f, inputs))
    else:
        torch.func.grad(lambda *x: x[0].sum() + f(*x).sum())(*inputs)


def jacobian(transform):
    def run(f, inputs, wanted):
        if has_gradient(wanted):
            numbers = tuple(range(len(inputs)))
            same(transform(scalar(f), numbers)(*inputs), reference_gradients(f, inputs))

    return run


def hessian(f, inputs, wanted):
    """Forward over reverse along one direction, against a difference of gradients in double precision."""
    if not has_gradient(wanted):
        return
    x, rest = inputs[0], inputs[1:]
    direction = draw(*x.shape, seed=5)
    _, along = torch.func.jvp(lambda x: torch.func.grad(scalar(f))(x, *rest), (x,), (direction,))
    leaf = x.double().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):  # the one that has a second derivative
        (first,) = torch.autograd.grad(scalar(f)(leaf, *(y.double() for y in rest)), leaf, create_graph=True)
        if not first.requires_grad:  # linear
            assert not along.abs().max() > 1e-5
            return
        (second,) = torch.autograd.grad((first * direction.double()).sum(), leaf)
    torch.testing.assert_close(along, second.float(), rtol=1e-3, atol=1e-4)


def jvp(f, inputs, wanted):
    directions = tuple(draw(*x.shape, seed=5 + i) for i, x in enumerate(inputs))
    if has_gradient(wanted):
        _, along = torch.func.jvp(scalar(f), inputs, directions)
        slopes = zip(reference_gradients(f, inputs), directions, strict=True)
        torch.testing.assert_close(along, sum((slope * direction).sum() for slope, direction in slopes), **CLOSE)
    else:
        same(torch.func.jvp(f, inputs, directions)[0], wanted)


def dual(f, inputs, wanted):
    directions = tuple(draw(*x.shape, seed=5 + i) for i, x in enumerate(inputs))
    with forward_ad.dual_level():
        pairs = (forward_ad.make_dual(x, v) for x, v in zip(inputs, directions, strict=True))
        if not has_gradient(wanted):
            same(f(*pairs), wanted)
            return
        along = forward_ad.unpack_dual(scalar(f)(*pairs)).tangent
    slopes = zip(reference_gradients(f, inputs), directions, strict=True)
    torch.testing.assert_close(along, sum((slope * direction).sum() for slope, direction in slopes), **CLOSE)


def meta(f, inputs, wanted):
    same_shapes(f(*(x.to("meta") for x in inputs)), wanted)


def subclass(f, inputs, wanted):
    outputs = many(f(*(x.as_subclass(Marked) for x in inputs)))
    same(tuple(out.as_subclass(torch.Tensor) for out in outputs), wanted)


def wrapper_subclass(f, inputs, wanted):
    outputs = many(f(*(TwoTensor(x, x.clone()) for x in inputs)))
    same(tuple(out.a if isinstance(out, TwoTensor) else out for out in outputs), wanted)


def parameters(f, inputs, wanted):
    with torch.no_grad():
        same(f(*(nn.Parameter(x) for x in inputs)), wanted)


def dispatch_mode(f, inputs, wanted):
    with Watching():
        same(f(*inputs), wanted)


def device_context(f, inputs, wanted):
    with torch.device("cpu"):
        same(f(*inputs), wanted)


def inference(f, inputs, wanted):
    with torch.inference_mode():
        same(f(*(x.clone() for x in inputs)), wanted)
    same(f(*(x.clone() for x in inputs)), wanted)


def negative_views(f, inputs, wanted):
    same(f(*(torch._neg_view(-x) for x in inputs)), wanted)


def zero_tensors(f, inputs, wanted):
    same(f(*(torch._efficientzerotensor(x.shape) for x in inputs)), f(*(torch.zeros_like(x) for x in inputs)))


def functional_wrapper(f, inputs, wanted):
    wrapped = [torch._to_functional_tensor(x) for x in inputs]
    torch._enable_functionalization(reapply_views=True)
    try:
        outputs = many(f(*wrapped))
    finally:
        torch._disable_functionalization()
    same(tuple(torch._from_functional_tensor(out) for out in outputs), wanted)


def compiled(backend):
    def run(f, inputs, wanted):
        torch.compiler.reset()
        if backend != "eager" or not has_gradient(wanted):  # a graph without gradients is made in another way
            same(torch.compile(f, fullgraph=True, backend=backend)(*inputs), wanted)
        if has_gradient(wanted):
            leaves = [x.clone().requires_grad_() for x in inputs]
            function = torch.compile(lambda *x: (scalar(f)(*x), f(*x)), fullgraph=True, backend=backend)
            loss, outputs = function(*leaves)
            same(tuple(out.detach() for out in many(outputs)), wanted)
            same(torch.autograd.grad(loss, leaves), reference_gradients(f, inputs))

    return run


def recomputed(f, inputs, wanted):
    if has_gradient(wanted):
        leaves = [x.clone().requires_grad_() for x in inputs]
        loss = checkpoint(scalar(f), *leaves, use_reentrant=False)
        same(torch.autograd.grad(loss, leaves), reference_gradients(f, inputs))


WRAPPERS = {
    "trace": trace,
    "script": script,
    "export": export,
    "onnx": onnx,
    "fake": fake,
    "fake_from_plain": fake_from_plain,
    "functionalize": functionalize,
    "functional_wrapper": functional_wrapper,
    "make_fx_real": fx("real"),
    "make_fx_fake": fx("fake"),
    "make_fx_symbolic": fx("symbolic"),
    "vmap": vmap,
    "vmap_of_one": vmap_of_one,
    "backward": backward,
    "grad": grad,
    "jacrev": jacobian(torch.func.jacrev),
    "jacfwd": jacobian(torch.func.jacfwd),
    "hessian": hessian,
    "jvp": jvp,
    "dual": dual,
    "meta": meta,
    "subclass": subclass,
    "wrapper_subclass": wrapper_subclass,
    "parameters": parameters,
    "dispatch_mode": dispatch_mode,
    "device_context": device_context,
    "inference": inference,
    "negative_views": negative_views,
    "zero_tensors": zero_tensors,
    "compile_eager": compiled("eager"),
    "compile_aot_eager": compiled("aot_eager"),
    "checkpoint": recomputed,
}


def main():
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    use_backend("reference")
    expected = {name: f(*inputs) for name, (f, inputs) in OPERATIONS.items()}
    use_backend(sys.argv[1])
    for wrapper, run in WRAPPERS.items():
        for name, (f, inputs) in OPERATIONS.items():
            try:
                run(f, inputs, expected[name])
                outcome = "same"
            except Exception as error:  # whatever torch says
                outcome = f"{type(error).__name__}: {error}"
            sys.stdout.write(json.dumps([name, wrapper, outcome[:2000]]) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
