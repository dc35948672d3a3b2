"""Which of an object's texts are shown in a step: its name, a caption and a retrieved caption, as ReCon++ has them."""

import numpy as np
import torch

CAPTIONS = ("drawn", "published", "first")
NUM_TEXTS = 3
_NAME, _BLIP, _MSFT, _RETRIEVED = range(4)  # places in `objects.KINDS`


def choose_texts(
    kinds: np.ndarray, how: str, *, is_objaverse: bool, is_flagged: bool = False
) -> tuple[int | None, int | None, int | None]:
    """Chooses a name, a caption and a retrieved caption, from torch's global generator.

    Args:
        kinds: (t,) places in `KINDS` of an object's texts, in increasing order.
        how: `drawn`: a random name (of Objaverse's objects the first), a caption of BLIP or of MSFT, a random retrieved
            one. `published`: the coin for the captions is thrown first, so that an object with one of the two has none
            half of the time. `first`: nothing is drawn, and BLIP's caption comes before that of MSFT.
        is_objaverse: Its first name is its title; other names are the uploader's.
        is_flagged: Its names are of no use.

    Returns:
        Places among the texts; None: there is none.
    """
    starts = np.searchsorted(kinds, (0, 1, 2, 3, 4)).tolist()
    draws = [0.0] * 3 if how == "first" else torch.rand(3, dtype=torch.float64).tolist()
    name = None if is_flagged else _pick(starts, _NAME, 0.0 if is_objaverse else draws[0])
    captions = [_pick(starts, kind, 0.0) for kind in (_BLIP, _MSFT)]
    if how == "published":
        caption = captions[int(draws[1] >= 0.5)]
    else:
        there = [one for one in captions if one is not None]
        caption = there[int(draws[1] * len(there))] if there else None
    return name, caption, _pick(starts, _RETRIEVED, draws[2])


def _pick(starts: list[int], kind: int, draw: float) -> int | None:
    first, last = starts[kind], starts[kind + 1]
    return first + int(draw * (last - first)) if last > first else None
