"""Reads pickles that come from strangers: NumPy arrays and plain containers, nothing that could run code.

An ordinary unpickler calls whatever function the file names. This one knows a handful of names, and even those are
stand-ins from this module, so that a file reaches neither NumPy's own constructors nor its state setters.
"""

import mmap
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.checks.expansion import check_expansion
from pointrecon.utils.files.io import check_file
from pointrecon.utils.files.checks.pickle_scan import scan_pickle

MAX_EXPANSION = 16  # times the file's size, and
MIN_EXPANSION = 64 << 20  # bytes, whatever its size: what it may take if nothing in it were shared
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_BUILTINS = ("builtins", "__builtin__")  # Python 3's name, Python 2's name
_DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)


def load_pickle(path: str | Path) -> Any:
    """Reads a pickle of arrays, numbers, strings, lists, tuples, dicts and sets, written by Python 2 or 3.

    Args:
        path: The file, protocol 0 to 5.

    Returns:
        What was stored. Arrays are of a subclass of ndarray; `np.asarray` makes plain ones of them.

    Raises:
        InputError: The file is missing, truncated or damaged, asks for anything else than these types, holds an
            array of objects, or is made to take the memory or the time of who reads it.
    """
    path = check_file(path, "pickle file")
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            if size:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    scan_pickle(data)
            content = _Unpickler(file, path).load()
        check_expansion(content, MIN_EXPANSION + MAX_EXPANSION * size)
        return content
    except _Refused as error:
        raise InputError(
            f"'{path}' is refused: {error}, but only numbers, strings, plain containers and NumPy arrays of numbers "
            "are read, because a pickle can run any program; get the file from where it is published"
        ) from error
    except _DAMAGE as error:
        raise InputError(
            f"'{path}' ({size:,} bytes) is not a complete pickle file; copy or download it again "
            f"({type(error).__name__}: {error})"
        ) from error


class _Refused(Exception):
    """The file wants something that is not allowed."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file, encoding="latin1")  # Python 2 wrote the bytes of its arrays as text
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _Refused(f"it asks for '{module}.{name}'")
        return _ALLOWED[module, name]


class _Ndarray:
    """Stands for the type numpy.ndarray, which a pickle names and never needs itself."""


class _Dtype:
    """Stands for numpy.dtype: takes simple codes only, and of its state only the byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        self.value = np.dtype(str(code))
        if self.value.kind not in "biufcSU":
            raise _Refused(f"it holds an array of type '{self.value}'")

    def __setstate__(self, state: tuple) -> None:
        if any(item is not None for item in state[2:5]):
            raise _Refused("it holds an array with fields")
        self.value = self.value.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array whose state can only be shape, a checked type and as many bytes as belong to it."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        if isinstance(data, list):
            raise _Refused("it holds an array of objects")
        # NumPy itself compares the number of bytes with shape and type.
        super().__setstate__((1, tuple(shape), _checked(dtype), bool(is_fortran), _to_bytes(data)))


def _reconstruct(*_: Any) -> _Array:
    return _Array((0,), np.uint8)  # its state follows


def _scalar(dtype: _Dtype, data: bytes | str) -> np.generic:
    return np.frombuffer(_to_bytes(data), _checked(dtype), count=1)[0]


def _frombuffer(data: bytes, dtype: _Dtype, shape: tuple, order: str, axes: tuple | None = None) -> np.ndarray:
    values = np.frombuffer(bytearray(_to_bytes(data)), _checked(dtype))  # bytearray: arrays can be written to
    if order == "K" and axes is not None:
        return values.reshape(shape).transpose(axes)
    return values.reshape(shape, order=order)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise _Refused(f"it asks for the encoding '{encoding}'")
    return text.encode("latin1")


def _bytes(*args: Any) -> bytes:
    if args:
        raise _Refused("it asks for 'bytes' with arguments")
    return b""


def _bytearray(data: bytes | str = b"", encoding: str = "latin1") -> bytearray:
    # The type itself takes a number as well, of zeros, which may be more than there is memory.
    return bytearray(_encode(data, encoding.replace("-", "")) if isinstance(data, str) else _to_bytes(data))


def _checked(dtype: Any) -> np.dtype:
    if not isinstance(dtype, _Dtype):
        raise _Refused("it holds an array whose type is no NumPy type")
    return dtype.value


def _to_bytes(data: bytes | bytearray | str) -> bytes:
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, (bytes, bytearray)):
        raise _Refused(f"it holds an array made of '{type(data).__name__}'")
    return bytes(data)


_ALLOWED = {
    ("numpy", "ndarray"): _Ndarray,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,  # how protocols 0 to 2 store bytes
    ("collections", "OrderedDict"): dict,
    **{(module, "_reconstruct"): _reconstruct for module in _MULTIARRAY},
    **{(module, "scalar"): _scalar for module in _MULTIARRAY},
    **{(module, "_frombuffer"): _frombuffer for module in _NUMERIC},
    **{(module, kind.__name__): kind for module in _BUILTINS for kind in (set, frozenset, complex)},
    **{(module, "bytearray"): _bytearray for module in _BUILTINS},
    **{(module, "bytes"): _bytes for module in _BUILTINS},
}
