"""For kernels that give a gradient alone."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

Backward = Callable[[Any, Tensor], Any]


def first_order(operation: str, remedy: str) -> Callable[[Backward], Backward]:
    """A backward pass that refuses to drop the gradient of the gradient in silence.

    Args:
        operation: name for the message.
        remedy: what has a second derivative.
    """

    def decorate(backward: Backward) -> Backward:
        @wraps(backward)
        def checked(ctx: Any, grad: Tensor) -> Any:
            if torch.is_grad_enabled():
                raise RuntimeError(f"{operation} has no second derivative in the backend compiled; {remedy}")
            return backward(ctx, grad)

        return checked

    return decorate
