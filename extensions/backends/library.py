"""The shared library that `build.py` makes, loaded once and called through ctypes with torch's thread count."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import build

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64
_OUT_OF_MEMORY, _BAD_ARGUMENT = 1, 2  # as in csrc/arguments.h


class Function:
    """A function of the library.

    Args:
        name: of the C symbol.
        num_inputs: pointers before the sizes.
        num_sizes: whole numbers.
        num_outputs: pointers after them.
    """

    def __init__(self, name: str, num_inputs: int, num_sizes: int, num_outputs: int) -> None:
        self.name = name
        self._library: ctypes.CDLL | None = None
        self._function: Any = None
        self._types = [_POINTER] * num_inputs + [_SIZE] * num_sizes + [_POINTER] * num_outputs + [ctypes.c_int]

    def __call__(self, *arguments: Tensor | int) -> None:
        """Calls it.

        Args:
            arguments: tensors that are contiguous and of the type that the function reads or writes, addresses, sizes.

        Raises:
            MemoryError: memory ran out.
            ValueError: the library refuses the arguments: a negative size, or no memory behind a tensor.
        """
        library = load()
        if library is not self._library:
            self._library, self._function = library, getattr(library, self.name)
            self._function.argtypes, self._function.restype = self._types, ctypes.c_int
        plain = [x.data_ptr() if isinstance(x, Tensor) else x for x in arguments]
        status = self._function(*plain, torch.get_num_threads())
        if status == _OUT_OF_MEMORY:
            raise MemoryError(f"{self.name}: out of memory")
        if status:
            raise ValueError(f"{self.name} cannot take sizes and addresses {plain}")


@cache
def load() -> ctypes.CDLL:
    """The library.

    Raises:
        OSError: there is none, or it cannot be loaded.
    """
    library = ctypes.CDLL(str(build.library_path()))
    library.point_ops_use_region.argtypes = [_POINTER]
    library.point_ops_use_region(products_region())
    return library


def products_region() -> int | None:
    """Where libgomp, which torch's matrix products run in, begins a parallel region; None if torch uses another one."""
    try:
        torch_library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return ctypes.cast(torch_library.GOMP_parallel, _POINTER).value
    except (OSError, AttributeError):
        return None


def is_available(device_type: str) -> bool:
    """Whether the library is there for a type of device ("cpu", "cuda", ...)."""
    return not unavailable_reason(device_type)


@cache
def unavailable_reason(device_type: str) -> str:
    """Why it is not; empty if it is. To look for it takes milliseconds, so that is done once."""
    if device_type != "cpu":
        return "the compiled operations run on the CPU"
    if not build.library_path().is_file():
        return f"not built, run python -m {build.__name__}"
    try:
        load()
    except (OSError, AttributeError) as error:
        return f"the library cannot be loaded: {error}"
    return ""
