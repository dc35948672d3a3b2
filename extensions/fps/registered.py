"""Farthest point sampling as an operation of torch.

Shape legend: B batch, N points, G samples.
"""

import torch
from torch import Tensor

from ..checks import prepare
from ..dispatch import select_function
from ..registry import is_in_onnx_export, register
from . import reference


def fps(points: Tensor, num_samples: int) -> Tensor:
    """The operation itself, checked, without torch's dispatcher; see `ops.fps`."""
    _, (points,) = prepare(points=points)
    return select_function(points, "fps")(points, num_samples)


def _fake(points: Tensor, num_samples: int) -> Tensor:
    return points.new_empty(points.shape[0], num_samples, dtype=torch.int64)


def search(points: Tensor, num_samples: int) -> Tensor:
    """The same for tensors of any kind, without a gradient."""
    if is_in_onnx_export():
        return reference.fps(points, num_samples)
    return registered_fps(points, num_samples)


registered_fps = register(fps, _fake)
