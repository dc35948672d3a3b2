"""pointrecon: self-supervised 3D point-cloud encoders (ReCon, ICML 2023, and what grew from it).

The names below are the public interface. They are imported when first used, so that `import pointrecon` is instant.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["__version__", "list_models", "load_encoder", "load_model"]

_HOMES = {"list_models": "catalogue", "load_encoder": "encoders", "load_model": "encoders"}

try:
    __version__ = version("pointrecon")
except PackageNotFoundError:  # a source tree on the path that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"pointrecon.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'pointrecon' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
