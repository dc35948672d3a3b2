"""The definition of farthest point sampling in plain torch.

Shape legend: B batch, N points, G samples.
"""

import torch
from torch import Tensor


@torch.no_grad()
def fps(points: Tensor, num_samples: int) -> Tensor:
    """(B, N, 3) -> (B, G) int64; see `ops.fps`."""
    x, y, z = points.permute(2, 0, 1).contiguous()  # three (B, N) planes: the inner loop stays contiguous
    batch = torch.arange(points.shape[0], device=points.device)
    picked = torch.zeros(points.shape[0], num_samples, dtype=torch.int64, device=points.device)
    nearest = torch.full_like(x, float("inf"))  # squared distance to the nearest picked point
    last = picked[:, 0]
    for step in range(1, num_samples):
        dx, dy, dz = (plane - plane[batch, last].unsqueeze(1) for plane in (x, y, z))
        nearest = torch.minimum(nearest, dx * dx + dy * dy + dz * dz)
        last = nearest.argmax(dim=1)  # the first of equal maxima on CPU
        if points.device.type != "cpu":
            last = _first_maximum(nearest)
        picked[:, step] = last
    return picked


def _first_maximum(values: Tensor) -> Tensor:
    """(B, N) -> (B,) lowest index of the maximum: argmax promises no order among ties off the CPU."""
    is_maximum = values == values.max(dim=1, keepdim=True).values
    order = torch.arange(values.shape[1], 0, -1, device=values.device)
    return (is_maximum * order).argmax(dim=1)
