"""Which patches are hidden from the encoder. True = masked, everywhere.

Shape legend: B batch, G groups.
"""

import torch
from torch import Tensor

from utils.errors import InputError


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
    noise = torch.rand(centers.shape[:2], device=centers.device, generator=generator)
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
    seed = torch.randint(num_groups, (batch, 1, 1), device=centers.device, generator=generator)
    distance = (centers - centers.gather(1, seed.expand(-1, -1, 3))).square().sum(dim=-1)
    return _mark_smallest(distance, count)


def _mark_smallest(values: Tensor, count: int) -> Tensor:
    index = values.argsort(dim=1)[:, :count]
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, index, True)


MASKS = {"random": random_mask, "block": block_mask}
