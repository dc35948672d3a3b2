"""The op package under the name that it has when installed, for programs with the folder around this one on their path.

The drop-in packages import `recon_point_ops`. After `pip install` that is the op package itself, and this file is not
there. With the folder `extensions` on the path it is this file, which puts the op package in its own place. The name
`extensions` would not do: programs that the drop-ins serve often have a package `extensions` of their own.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

_HOME = Path(__file__).resolve().parent.parent


def _is_home(name: str) -> bool:
    """Whether the op package is what this program imports under a name."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == _HOME / "__init__.py"


if _is_home(_HOME.name):
    # One copy: operations and a compiled library can be registered only once in a process.
    sys.modules[__name__] = importlib.import_module(_HOME.name)
else:
    _spec = importlib.util.spec_from_file_location(
        __name__, _HOME / "__init__.py", submodule_search_locations=[str(_HOME)]
    )
    sys.modules[__name__] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[__name__])
