"""Which backend runs an operation: POINT_OPS or `use_backend` forces one, otherwise the first that can run there."""

import logging
import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .backends import library, reference

# In order of choice. Name -> the types of device that a backend is made for; None: any.
BACKENDS: dict[str, tuple[str, ...] | None] = {
    "compiled": ("cpu",),
    "triton": ("cuda",),
    "external": ("cuda",),
    "reference": None,
}

log = logging.getLogger(__name__)
_forced: str | None = None


def use_backend(name: str | None) -> None:
    """Force a backend for the rest of the process; this goes before POINT_OPS.

    Args:
        name: a key of BACKENDS; None ends it.

    Raises:
        ValueError: no backend has this name, or it cannot run here.
    """
    global _forced
    if name is not None:
        _check_forced(name, "use_backend")
    _forced = name


def select_backend(tensor: Tensor, operation: str = "") -> ModuleType:
    """The module that runs an operation on this tensor's device.

    Args:
        tensor: on the device in question.
        operation: a function of `reference`; what a backend leaves out runs in the reference.

    Raises:
        ValueError: POINT_OPS names no backend, or one that cannot run here.
    """
    forced = _forced or os.environ.get("POINT_OPS", "")
    name = _choose(tensor.device.type, forced)
    module = load_backend(name)
    return module if not operation or hasattr(module, operation) else reference


def select_function(tensor: Tensor, operation: str) -> Callable[..., Any]:
    """What runs an operation on points on this tensor's device; double precision has the reference alone.

    Args:
        tensor: of floating point, on the device in question.
        operation: a function of `reference`.

    Raises:
        ValueError: as `select_backend`.
    """
    backend = select_backend(tensor, operation) if tensor.dtype == torch.float32 else reference
    return getattr(backend, operation)


@cache
def load_backend(name: str) -> ModuleType:
    """Imports a backend.

    Args:
        name: a key of BACKENDS.

    Raises:
        ImportError: it needs what is not there.
    """
    return reference if name == "reference" else import_module(f".backends.{name}", __package__)


@cache
def why_unavailable(name: str, device_type: str) -> str:
    """Why a backend cannot run on a type of device.

    Args:
        name: a key of BACKENDS.
        device_type: "cpu", "cuda", ...

    Returns:
        A clause without a full stop; empty if it can.
    """
    if name == "reference":
        return ""
    try:
        module = load_backend(name)
        if module.is_available(device_type):
            return ""
    except (ImportError, OSError, RuntimeError) as error:
        return f"it cannot be imported ({error})"
    explain = getattr(module, "unavailable_reason", None)
    return explain(device_type) if explain else f"it is not there for {device_type}"


def forget() -> None:
    """Look anew at what is there, for a backend that has just been built."""
    for function in (load_backend, why_unavailable, _choose, _check_forced, library.unavailable_reason):
        function.cache_clear()


@cache
def _choose(device_type: str, forced: str) -> str:
    """Name of the backend; being cached, it logs a line a device and not a call."""
    if forced:
        _check_forced(forced, "POINT_OPS")
    order = [forced, *BACKENDS] if forced else list(BACKENDS)
    reasons = {name: why_unavailable(name, device_type) for name in order}
    chosen = next(name for name in order if not reasons[name])
    missed = [
        f"{name}: {reasons[name]}"
        for name in order[: order.index(chosen)]
        if name in (forced, "compiled", "triton") and (name == forced or device_type in (BACKENDS[name] or ()))
    ]
    why = f" ({'; '.join(missed)})" if missed else ""
    is_slow = any(text.startswith("compiled:") for text in missed)  # say so, where nobody has set up a log too
    log.log(logging.WARNING if is_slow else logging.INFO, "point operations on %s: %s%s", device_type, chosen, why)
    return chosen


@cache
def _check_forced(name: str, source: str) -> None:
    """A forced backend must exist and run on some device here; on the others the usual order holds.

    So POINT_OPS=triton speeds up training on a GPU while the loaders' processes sample on the CPU.
    """
    if name not in BACKENDS:
        raise ValueError(f"{source} is {name!r}; the backends are: {', '.join(BACKENDS)}")
    reasons = {device: why_unavailable(name, device) for device in ("cpu", "cuda")}
    if all(reasons.values()):
        made_for = (BACKENDS[name] or ("cpu",))[0]
        raise ValueError(f"{source} is {name!r}, which cannot run here: {reasons[made_for]}; choose another or none")
