"""The stop-gradient between the two streams, whole or in part."""

from torch import Tensor


def held_back(tokens: Tensor, stop: float) -> Tensor:
    """The same values with less gradient.

    Args:
        tokens: any shape.
        stop: share of the gradient that does not pass, 0..1; True is all of it, False none.
    """
    if stop >= 1:
        return tokens.detach()
    if stop <= 0:
        return tokens
    fixed = tokens.detach()
    # The difference is exactly 0, so the values keep their bits; an infinite one would become NaN, and the loss is then
    # non-finite anyway.
    return fixed + (1 - stop) * (tokens - fixed)
