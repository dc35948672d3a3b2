"""For kernels that give a gradient alone."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def first_order(backward: Callable[[Any, Tensor], Any]) -> Callable[[Any, Tensor], Any]:
    """A backward pass that refuses to drop the gradient of the gradient in silence.

    Raises:
        RuntimeError: one is asked for.
    """

    @wraps(backward)
    def checked(ctx: Any, grad: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "linear_max and attention have no second derivative in the backend compiled; POINT_OPS=reference has it"
            )
        return backward(ctx, grad)

    return checked
