"""Which patches are hidden from the encoder. True = masked, everywhere.

Shape legend: B batch, G groups, M masked groups, T visible groups.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import draw_rows


class Split(NamedTuple):
    """Which groups are hidden, as their numbers, each in the order of the group index."""

    visible: Tensor  # (B, T) int64
    masked: Tensor  # (B, M) int64

    def to_mask(self) -> Tensor:
        """(B, G) bool, True = masked, for pictures and files."""
        num_groups = self.visible.shape[1] + self.masked.shape[1]
        mask = torch.zeros(len(self.masked), num_groups, dtype=torch.bool, device=self.masked.device)
        return mask.scatter_(1, self.masked, True)


def split_of_mask(mask: Tensor) -> Split:
    """The split that a mask from elsewhere stands for; makes the host wait for the device.

    Args:
        mask: (B, G) bool, True = masked, the same count in each row.
    """
    count = int(mask[0].sum())
    order = mask.to(torch.uint8).argsort(dim=1, stable=True)
    return Split(*order.split([mask.shape[1] - count, count], dim=1))


def take_groups(x: Tensor, groups: Tensor) -> Tensor:
    """(B, G, ...), (B, T) int64 -> (B, T, ...)."""
    first = torch.arange(len(x), device=x.device).unsqueeze(1) * x.shape[1]
    return x.flatten(0, 1).index_select(0, (first + groups).flatten()).unflatten(0, groups.shape)


def num_masked(num_groups: int, mask_ratio: float) -> int:
    """int(mask_ratio * G).

    Raises:
        InputError: nothing or everything would be masked.
    """
    count = int(mask_ratio * num_groups)
    if not 0 < count < num_groups:
        raise InputError(
            f"model.mask_ratio {mask_ratio} masks {count} of {num_groups} groups; at least one group must be masked "
            "and one visible"
        )
    return count


def random_mask(centers: Tensor, count: int, generator: torch.Generator | None = None) -> Split:
    """Masks `count` groups drawn uniformly without replacement, anew for each sample.

    Args:
        centers: (B, G, 3).
        count: masked groups a sample.
        generator: on the device of centers.
    """
    batch, num_groups, _ = centers.shape
    noise = draw_rows(lambda rows: torch.rand((rows, num_groups), device=centers.device, generator=generator), batch)
    return _mask_smallest(noise, count)


def block_mask(centers: Tensor, count: int, generator: torch.Generator | None = None) -> Split:
    """Masks the `count` groups nearest to a random centre of each sample (Point-BERT, section 3.2).

    Args:
        centers: (B, G, 3).
        count: masked groups a sample.
        generator: on the device of centers.
    """
    batch, num_groups, _ = centers.shape
    seed = draw_rows(
        lambda rows: torch.randint(num_groups, (rows, 1, 1), device=centers.device, generator=generator), batch
    )
    distance = (centers - centers.gather(1, seed.expand(-1, -1, 3))).square().sum(dim=-1)
    return _mask_smallest(distance, count)


def _mask_smallest(values: Tensor, count: int) -> Split:
    order = values.argsort(dim=1)
    return Split(visible=order[:, count:].sort(dim=1).values, masked=order[:, :count].sort(dim=1).values)


MASKS = {"random": random_mask, "block": block_mask}
