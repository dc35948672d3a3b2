"""Which backend runs an operation: the environment variable POINT_OPS forces one, otherwise the best that is there."""

import logging
import os
from functools import cache
from types import ModuleType

from torch import Tensor

from extensions import reference

BACKENDS: dict[str, ModuleType] = {"reference": reference}

log = logging.getLogger(__name__)


def select_backend(tensor: Tensor) -> ModuleType:
    """The module whose functions run on this tensor's device.

    Raises:
        ValueError: POINT_OPS names no backend.
    """
    return _backend_for(tensor.device.type, os.environ.get("POINT_OPS", ""))


@cache
def _backend_for(device_type: str, forced: str) -> ModuleType:
    name = forced or "reference"
    if name not in BACKENDS:
        raise ValueError(f"POINT_OPS is {forced!r}; the backends are: {', '.join(sorted(BACKENDS))}")
    log.debug("point operations on %s: %s", device_type, name)  # the cache makes this a line a device, not a call
    return BACKENDS[name]
