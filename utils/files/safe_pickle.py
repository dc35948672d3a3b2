"""Reads pickles that come from strangers: NumPy arrays and plain containers, nothing that could run code.

An ordinary unpickler calls whatever function the file names. Here the file is followed to its end first, and held
against the policy `ARRAYS`. What it may call then are stand-ins from this module, so that a file reaches neither
NumPy's own constructors nor its state setters, and no file can change a stand-in.
"""

import mmap
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.checks.expansion import check_expansion
from pointrecon.utils.files.checks.limits import allowed_bytes
from pointrecon.utils.files.checks.pickle_items import RefusedPickleError
from pointrecon.utils.files.checks.pickle_policies import ARRAYS, BUILTINS, MULTIARRAY, NUMERIC
from pointrecon.utils.files.checks.pickle_scan import scan_pickle
from pointrecon.utils.files.io import check_file

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
                    scan_pickle(data, ARRAYS)
            content = _Unpickler(file).load()
        check_expansion(content, allowed_bytes(size))
        return content
    except RefusedPickleError as error:
        raise InputError(
            f"'{path}' is refused: {error}, but only numbers, strings, plain containers and NumPy arrays of numbers "
            "are read, because a pickle can run any program; get the file from where it is published"
        ) from error
    except _DAMAGE as error:
        raise InputError(
            f"'{path}' ({size:,} bytes) is not a complete pickle file; copy or download it again "
            f"({type(error).__name__}: {error})"
        ) from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any) -> None:
        super().__init__(file, encoding="latin1")  # Python 2 wrote the bytes of its arrays as text

    def find_class(self, module: str, name: str) -> Any:
        return _STAND_INS[f"{module} {name}"]


class _StandIn:
    """Stands for a function or a class: can be called and not changed."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"'{name}' cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"'{name}' cannot be removed")


class _Dtype:
    """Stands for one of NumPy's types: of its state it takes only the byte order."""

    __slots__ = ("value",)

    def __init__(self, code: str, *_: Any) -> None:
        self.value: np.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.value = self.value.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array whose state can only be shape, a checked type and as many bytes as belong to it."""

    def __setstate__(self, state: Any, /) -> None:
        _, shape, dtype, is_fortran, data = state
        # NumPy itself compares the number of bytes with shape and type.
        plain = (1, tuple(shape), dtype.value, bool(is_fortran), _to_bytes(data))
        super().__setstate__(cast(Any, plain))  # NumPy's own annotation leaves the version out


def _reconstruct(*_: Any) -> _Array:
    return _Array((0,), np.uint8)  # its state follows


def _scalar(dtype: _Dtype, data: bytes | str) -> np.generic:
    return np.frombuffer(_to_bytes(data), dtype.value, count=1)[0]


def _frombuffer(
    data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Literal["C", "F", "K"], axes: tuple | None = None
) -> np.ndarray:
    values = np.frombuffer(bytearray(_to_bytes(data)), dtype.value)  # bytearray: arrays can be written to
    if order == "K" and axes is not None:
        return values.reshape(shape).transpose(axes)
    return values.reshape(shape, order="F" if order == "F" else "C")


def _encode(text: str, _: str) -> bytes:
    return text.encode("latin1")


def _bytearray(data: bytes | str = b"", _: str = "latin1") -> bytearray:
    return bytearray(_to_bytes(data))


def _to_bytes(data: bytes | bytearray | str) -> bytes:
    return data.encode("latin1") if isinstance(data, str) else bytes(data)


_STAND_INS: dict[str, Any] = {
    "numpy ndarray": _StandIn(_reconstruct),  # named as a type, and never called
    "numpy dtype": _StandIn(_Dtype),
    "_codecs encode": _StandIn(_encode),
    "collections OrderedDict": dict,
    **{f"{module} _reconstruct": _StandIn(_reconstruct) for module in MULTIARRAY},
    **{f"{module} scalar": _StandIn(_scalar) for module in MULTIARRAY},
    **{f"{module} _frombuffer": _StandIn(_frombuffer) for module in NUMERIC},
    **{f"{module} {kind.__name__}": kind for module in BUILTINS for kind in (set, frozenset, complex)},
    **{f"{module} bytearray": _StandIn(_bytearray) for module in BUILTINS},
    **{f"{module} bytes": _StandIn(bytes) for module in BUILTINS},
}
