"""Which patches are hidden from the encoder. True = masked, everywhere.

Shape legend: B batch, G groups, M masked groups, T visible groups.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import draw_rows


class Split(NamedTuple):
    """A mask as numbers of groups, each in the order of the group index."""

    visible: Tensor  # (B, T) int64
    masked: Tensor  # (B, M) int64


def split_groups(mask: Tensor | Split, num_masked: int | None = None) -> Split:
    """The visible and the masked groups of each sample.

    Args:
        mask: (B, G) bool, True = masked, the same count in each row; or what this has made of one.
        num_masked: that count; None: it is looked up, for which the host waits for the device.
    """
    if isinstance(mask, Split):
        return mask
    count = int(mask[0].sum()) if num_masked is None else num_masked
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


def random_mask(centers: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Masks `count` groups drawn uniformly without replacement, anew for each sample.

    Args:
        centers: (B, G, 3).
        count: masked groups a sample.
        generator: on the device of centers.

    Returns:
        (B, G) bool, True = masked.
    """
    batch, num_groups, _ = centers.shape
    noise = draw_rows(lambda rows: torch.rand((rows, num_groups), device=centers.device, generator=generator), batch)
    return _mark_smallest(noise, count)


def block_mask(centers: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Masks the `count` groups nearest to a random centre of each sample (Point-BERT, section 3.2).

    Args:
        centers: (B, G, 3).
        count: masked groups a sample.
        generator: on the device of centers.

    Returns:
        (B, G) bool, True = masked.
    """
    batch, num_groups, _ = centers.shape
    seed = draw_rows(
        lambda rows: torch.randint(num_groups, (rows, 1, 1), device=centers.device, generator=generator), batch
    )
    distance = (centers - centers.gather(1, seed.expand(-1, -1, 3))).square().sum(dim=-1)
    return _mark_smallest(distance, count)


def _mark_smallest(values: Tensor, count: int) -> Tensor:
    index = values.argsort(dim=1)[:, :count]
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, index, True)


MASKS = {"random": random_mask, "block": block_mask}
