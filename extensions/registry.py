"""How an operation is called: directly, as an operation of torch, or as a composition of torch's own operations.

Directly: plain tensors in eager mode. The way through torch's dispatcher takes the host 4 us more a call, for the same
schema by `torch.library.custom_op` 13 to 17 us (torch 2.14), as long as a kernel takes a GPU.
Registered: what is no such tensor, or is watched: under torch.compile, torch.export and torch.jit.trace, of a subclass,
on the meta device, under a dispatch mode (fake tensors, make_fx). `torch.ops.<package>.*` have shapes and gradients.
Composed: under the transforms of torch.func and with forward-mode derivatives, the search for indices is a registered
operation and everything that has a derivative is made of torch's own operations, which have all of them. An export to
ONNX by `dynamo=False` knows no operations but torch's, and is given the definition.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.torch_version import TorchVersion

# A second copy of this package in one process (installed, and as a folder) registers under its own name.
NAMESPACE = __name__.rpartition(".")[0].replace(".", "_")
_LIBRARY = torch.library.Library(NAMESPACE, "DEF")
_PLAIN_TYPES = (Tensor, torch.nn.Parameter)
_known_keys: dict[int, bool] = {}
# The compiler of torch 2.6 cannot trace the question; what it compiles there counts as not transformed.
_CAN_TRACE_TRANSFORMS = TorchVersion(torch.__version__) >= "2.7"


def is_plain(*tensors: Tensor) -> bool:
    """Whether these are strided tensors with memory of their own, in eager mode, that nobody watches or transforms."""
    if torch.compiler.is_compiling() or is_transformed():
        return False
    if torch._C._len_torch_dispatch_stack() or torch._C._get_tracing_state() is not None:
        return False
    for x in tensors:  # no generator: this is a part of every call
        if type(x) not in _PLAIN_TYPES or not _are_plain_keys(torch._C._dispatch_keys(x).raw_repr(), x):
            return False
    return True


def is_direct(*tensors: Tensor) -> bool:
    """Whether these are plain and ask for no gradient: no registered operation is needed."""
    for x in tensors:
        if x.requires_grad:
            return False
    return is_plain(*tensors)


def is_transformed() -> bool:
    """Whether a transform of torch.func, a forward-mode derivative or an export to ONNX is at work."""
    if not _CAN_TRACE_TRANSFORMS and torch.compiler.is_compiling():
        return False
    if forward_ad._current_level >= 0 or torch._C._functorch.peek_interpreter_stack() is not None:
        return True
    return is_in_onnx_export()


def is_in_onnx_export() -> bool:
    """Whether `torch.onnx.export(dynamo=False)` is tracing."""
    return torch.jit.is_tracing() and torch.onnx.is_in_onnx_export()


def register(
    kernel: Callable[..., Any],
    fake: Callable[..., Any],
    save: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Makes a function an operation of torch under its own name, with the schema that its annotations say.

    Args:
        kernel: checks values and calls the backend of its tensors' device.
        fake: the same arguments -> empty tensors of the results' shapes.
        save: setup_context of `torch.library.register_autograd`.
        backward: of the same.

    Returns:
        The operation.
    """
    name = kernel.__name__
    _LIBRARY.define(name + torch.library.infer_schema(kernel, mutates_args=()))
    _LIBRARY.impl(name, kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_LIBRARY)
    if backward is not None:
        torch.library.register_autograd(f"{NAMESPACE}::{name}", backward, setup_context=save, lib=_LIBRARY)
    operation = getattr(getattr(torch.ops, NAMESPACE), name).default
    torch.library.register_vmap(f"{NAMESPACE}::{name}", _fold(operation), lib=_LIBRARY)
    return operation


def _fold(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of an operation on batches under vmap: the mapped axis becomes a part of the batch."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        size = info.batch_size
        folded = []
        for argument, dim in zip(arguments, in_dims, strict=True):
            if isinstance(argument, Tensor):
                argument = argument.expand(size, *argument.shape) if dim is None else argument.movedim(dim, 0)
                argument = argument.flatten(0, 1)
            folded.append(argument)
        out = operation(*folded)
        if isinstance(out, Tensor):
            return out.unflatten(0, (size, -1)), 0
        return tuple(part.unflatten(0, (size, -1)) for part in out), (0,) * len(out)

    return rule


def _are_plain_keys(keys: int, x: Tensor) -> bool:
    """Whether these dispatch keys of a tensor say that nothing is special about it: no wrapper, no lazy sign, no other
    layout, a device that computes. They hold the type of device too."""
    if keys not in _known_keys:
        ordinary = set()
        for is_inference in (False, True):
            with torch.inference_mode(is_inference):
                ordinary.add(torch._C._dispatch_keys(torch.empty(0, device=x.device)).raw_repr())
        _known_keys[keys] = x.device.type != "meta" and keys in ordinary and not torch._is_functional_tensor(x)
    return _known_keys[keys]
