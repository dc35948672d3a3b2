"""Backend for the original compiled packages `pointnet2_ops` and `knn_cuda`, where they are installed: CUDA only.

Neighbours by `knn_cuda` are exact up to the rounding of fused multiply-adds. The sampling of `pointnet2_ops` skips
points near the origin, which is undone here, and gives ties to the lowest bit-reversed thread number, which is not: on
clouds with equal distances the other backends may pick other points.

Shape legend: B batch, N points, Q queries, G samples, K neighbours.
"""

import importlib
import importlib.util
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

# package -> the module of it that is called, and files that the original has and the drop-in of the same name has not
ORIGINALS = {
    "pointnet2_ops": ("pointnet2_ops.pointnet2_utils", ("_ext-src", "_ext*.so", "_ext*.pyd")),
    "knn_cuda": ("knn_cuda", ("csrc",)),
}
# The original's distances start at 1e10, and 12 * (2 ** 14) ** 2 stays below that.
LARGEST_EXPONENT = 14


def is_available(device_type: str) -> bool:
    """Whether one of the packages can be used.

    Args:
        device_type: "cpu" or "cuda".
    """
    return not unavailable_reason(device_type)


def unavailable_reason(device_type: str) -> str:
    """Why none can; empty if one can.

    Args:
        device_type: "cpu" or "cuda".
    """
    if device_type != "cuda":
        return "the compiled pointnet2_ops and knn_cuda run on CUDA alone"
    if all(load_original(package) is None for package in ORIGINALS):
        return "neither the compiled pointnet2_ops nor the compiled knn_cuda can be imported; drop-ins do not count"
    return ""


@cache
def load_original(package: str) -> ModuleType | None:
    """Imports one of the packages.

    Args:
        package: a key of ORIGINALS.

    Returns:
        Its module; None if it is not there, is the drop-in of the same name, or cannot be imported.
    """
    module, only_there = ORIGINALS[package]
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    if not any(any(Path(folder).glob(name)) for folder in folders or () for name in only_there):
        return None
    try:
        return importlib.import_module(module)
    except (
        ImportError,
        AssertionError,
        OSError,
        RuntimeError,
    ) as error:  # they compile when imported, or check for CUDA
        log.warning("the installed package %s cannot be imported: %s", package, error)
        return None


def __getattr__(name: str) -> Callable[..., Any]:
    """An operation is there if its package is: what is left out runs elsewhere."""
    if name in _OPERATIONS:
        package, operation = _OPERATIONS[name]
        if load_original(package) is not None:
            return operation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@torch.no_grad()
def _fps(points: Tensor, num_samples: int) -> Tensor:
    """(B, N, 3) -> (B, G) int64; see `ops.fps`."""
    original: Any = load_original("pointnet2_ops")
    return original.furthest_point_sample(_magnify(points).contiguous(), num_samples).long()


@torch.no_grad()
def _knn(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """(B, N, 3), (B, Q, 3) -> (B, Q, K) int64; see `ops.knn`."""
    original: Any = load_original("knn_cuda")
    return original.KNN(k=k, transpose_mode=True)(points, queries)[1]


def _magnify(points: Tensor) -> Tensor:
    """Clouds so large that next to nothing is near the origin, in the original's sense of |p|^2 <= 1e-3.

    The factor is a power of two, so each distance is multiplied exactly and the order of distances stays.
    """
    extent = (points - points[:, :1]).abs().amax(dim=(1, 2), keepdim=True)
    mantissa, _ = torch.frexp(extent)
    return torch.where(extent > 0, points * (mantissa / extent * 2**LARGEST_EXPONENT), points)


_OPERATIONS: dict[str, tuple[str, Callable[..., Any]]] = {"fps": ("pointnet2_ops", _fps), "knn": ("knn_cuda", _knn)}
