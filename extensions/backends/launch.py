"""What all kernels share: where they can run, how they are launched, how points are read and compared."""

# mypy: disable-error-code="no-untyped-def"
# The arguments of kernels are what Triton makes of them.

import os
import subprocess
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl

MIN_CAPABILITY = (7, 0)  # Triton compiles for no older NVIDIA GPU
# Fused multiply-add rounds once where the reference rounds twice: enough to swap two neighbours.
EXACT = {"num_stages": 1, "enable_fp_fusion": False}


@cache
def unavailable_reason(device_type: str) -> str:
    """Why the kernels cannot run on a type of device; empty if they can.

    Args:
        device_type: "cuda", "cpu", ...: on the CPU there is Triton's interpreter (TRITON_INTERPRET=1), for tests.

    Returns:
        One clause without a full stop, or "".
    """
    if device_type == "cpu":
        return "" if os.environ.get("TRITON_INTERPRET") == "1" else "Triton compiles for GPUs"
    if device_type != "cuda":
        return f"there are no kernels for {device_type}"
    if not torch.cuda.is_available():
        return "torch sees no GPU"
    if torch.version.hip is not None:
        return "the kernels are for NVIDIA GPUs"  # nothing has shown that an AMD compiler keeps the rounding
    if torch.cuda.get_device_capability() < MIN_CAPABILITY:
        return f"the GPU has compute capability {torch.cuda.get_device_capability()}, {MIN_CAPABILITY} is needed"
    try:
        # Triton makes its launcher with the system's C compiler, once a machine: fail here, not in training.
        triton.runtime.driver.active.get_current_target()
    except (RuntimeError, OSError, ImportError, subprocess.CalledProcessError) as error:
        return f"Triton cannot start: {error}"
    return ""


def is_available(device_type: str) -> bool:
    """Whether the kernels can run on a type of device ("cuda", "cpu", ...)."""
    return not unavailable_reason(device_type)


def launch(kernel: Any, num_programs: int, *arguments: Any, num_warps: int, **options: Any) -> None:
    """Run a kernel on the device of its first argument.

    Args:
        kernel: a function compiled by Triton.
        num_programs: how many programs, in a grid of one axis (the others end at 65,535).
        arguments: tensors and numbers, in the kernel's order; the first is a tensor.
        num_warps: warps of 32 threads a program.
        options: the kernel's compile-time arguments, by name, and further launch options.
    """
    device = arguments[0].device
    # Changing the device costs a small kernel's time, and hardly anybody needs it.
    is_other = device.type == "cuda" and device.index != torch.cuda.current_device()
    with torch.cuda.device(device) if is_other else nullcontext():
        kernel[(num_programs,)](*arguments, num_warps=num_warps, **EXACT, **options)


@triton.jit
def distance_bits(ax, ay, az, bx, by, bz):
    """Squared distance as an int32 of the same order: bits of numbers that are not negative are ordered as they are.

    Integers are compared exactly and have a reduction in hardware. What is not a number becomes infinite: no index can
    then leave the cloud, whatever the coordinates.
    """
    dx, dy, dz = ax - bx, ay - by, az - bz
    squared = dx * dx + dy * dy + dz * dz  # rounded after each operation, as in the reference
    squared = tl.where(squared < float("inf"), squared, float("inf"))
    return squared.to(tl.int32, bitcast=True)


@triton.jit
def load_points(points, index, is_inside):
    """x, y and z of the points of one cloud (N, 3) at an index; 0 outside."""
    x = tl.load(points + 3 * index, mask=is_inside, other=0.0)
    y = tl.load(points + 3 * index + 1, mask=is_inside, other=0.0)
    z = tl.load(points + 3 * index + 2, mask=is_inside, other=0.0)
    return x, y, z


@triton.jit
def load_point(points, index):
    """x, y and z of one point of one cloud (N, 3)."""
    return tl.load(points + 3 * index), tl.load(points + 3 * index + 1), tl.load(points + 3 * index + 2)
