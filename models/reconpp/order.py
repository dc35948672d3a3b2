"""The causal variant's order of patches, positions without weights, and attention masks.

Shape legend: B batch, G groups, C channels.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

NEVER_HIDDEN = 10  # patches at the start of the chain that every later one sees


class CausalSplit(NamedTuple):
    """What the patches see of each other; every one is predicted from those before it.

    Attributes:
        attention: (G, G) bool, True = may not attend, one for the whole batch.
        batch: samples that it is for.
    """

    attention: Tensor
    batch: int

    def to_mask(self) -> Tensor:
        """(B, G) bool, True = rebuilt, for pictures and files: all of them."""
        return self.attention.new_ones(self.batch, len(self.attention))


@torch.no_grad()
def chain_order(centers: Tensor) -> Tensor:
    """Each next centre is the nearest to the last chosen one among those that are left; centre 0 is the first.

    Args:
        centers: (B, G, 3).

    Returns:
        (B, G) int64, the numbers of the groups along the chain; of equal distances the lowest number.
    """
    batch, num_groups, _ = centers.shape
    # parity: in matrix form, as torch does it for more than 25 points, so that near ties fall as published.
    distance = torch.cdist(centers, centers)
    rows = torch.arange(batch, device=centers.device)
    last = torch.zeros(batch, dtype=torch.long, device=centers.device)
    order = [last]
    for _ in range(num_groups - 1):
        distance[rows, :, last] = math.inf
        last = distance[rows, last].argmin(dim=-1)
        order.append(last)
    return torch.stack(order, dim=1)


def sine_positions(points: Tensor, dim: int) -> Tensor:
    """(B, G, 3) -> (B, G, C): for each axis sine and cosine of 2 pi x in turn, then zeros.

    parity: all channels of an axis have one frequency, so six different numbers are all there is.
    """
    pairs = dim // 3 // 2
    angle = 2 * math.pi * points.unsqueeze(-1)
    waves = torch.stack([angle.sin(), angle.cos()], dim=-1)  # (B, G, 3, 1, 2)
    embedded = waves.expand(*points.shape, pairs, 2).flatten(2)
    return F.pad(embedded, (0, dim - embedded.shape[-1]))


def chain_directions(centers: Tensor) -> Tensor:
    """(B, G, 3) -> (B, G, 3): the first centre, then the unit vectors from each centre to the next."""
    steps = centers.diff(dim=1)
    # parity: published weights know the direction of a step and not its length.
    directions = steps / (steps.norm(dim=-1, keepdim=True) + 1e-5)
    return torch.cat([centers[:, :1], directions], dim=1)


def triangle(num_groups: int, device: torch.device) -> Tensor:
    """(G, G) bool, True above the diagonal: nobody sees what comes later."""
    return torch.ones(num_groups, num_groups, dtype=torch.bool, device=device).triu(1)


def num_hidden(num_groups: int, mask_ratio: float) -> int:
    """How many patches nobody but themselves sees; never one of the first ten."""
    return max(0, int((num_groups - NEVER_HIDDEN) * mask_ratio))


def causal_mask(centers: Tensor, count: int, generator: torch.Generator | None = None) -> CausalSplit:
    """The triangle, and `count` patches that only themselves see, drawn once for the whole batch.

    Args:
        centers: (B, G, 3).
        count: of `num_hidden`.
        generator: on the device of centers.
    """
    num_groups, device = centers.shape[1], centers.device
    noise = torch.rand(num_groups, device=device, generator=generator)
    noise[:NEVER_HIDDEN] = -1.0
    columns = noise.topk(count).indices
    hidden = torch.zeros(num_groups, dtype=torch.bool, device=device).scatter(0, columns, True)
    diagonal = torch.eye(num_groups, dtype=torch.bool, device=device)
    return CausalSplit(triangle(num_groups, device) | (hidden & ~diagonal), len(centers))
