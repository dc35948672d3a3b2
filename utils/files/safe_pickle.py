"""Reads pickles that come from strangers: NumPy arrays and plain containers, nothing that could run code.

An ordinary unpickler calls whatever function the file names. Here the file is followed to its end first, and held
against the policy `ARRAYS`. What it may call then are stand-ins from this module, so that a file reaches neither
NumPy's own constructors nor its state setters, and no file can change a stand-in.
"""

import contextlib
import io
import math
import mmap
import pickle
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.checks.expansion import check_expansion
from pointrecon.utils.files.checks.limits import allowed_bytes
from pointrecon.utils.files.checks.pickle_items import RefusedPickleError
from pointrecon.utils.files.checks.pickle_policies import ARRAYS, BUILTINS, MULTIARRAY, NUMERIC, OBJECT_ARRAYS
from pointrecon.utils.files.checks.pickle_scan import MAX_STEPS, scan_pickle
from pointrecon.utils.files.io import check_file

_MAX_HEADER = 10_000  # characters of a .npy file's; NumPy's own limit
_DAMAGE = (
    SyntaxError,
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
    tokenize.TokenError,  # NumPy reads headers that Python 2 wrote word by word
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
    with _explained(path, size, "pickle"), open(path, "rb") as file:
        if size:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                scan_pickle(data, ARRAYS)
        content = _Unpickler(file).load()
        check_expansion(content, allowed_bytes(size))
        return content


def load_npy_objects(path: str | Path, data: bytes | None = None, *, max_steps: int = MAX_STEPS) -> Any:
    """Reads a .npy file of Python objects, as `np.save` writes dicts and lists of arrays; or one of numbers.

    Args:
        path: The file; where its bytes are given, its name for messages.
        data: The bytes of the file; None: they are read.
        max_steps: Opcodes that its pickle may have.

    Returns:
        What was stored, of plain arrays and containers: an array of objects has become its one object (no axis) or a
        list (one axis).

    Raises:
        InputError: As `load_pickle`.
    """
    if data is not None:
        return _parse_npy(path, data, io.BytesIO(data), max_steps)
    path = check_file(path, ".npy file")
    with open(path, "rb") as file:
        if not path.stat().st_size:
            return _parse_npy(path, b"", file, max_steps)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return _parse_npy(path, mapped, file, max_steps)


def _parse_npy(path: str | Path, data: bytes | mmap.mmap, file: IO[bytes], max_steps: int) -> Any:
    size = len(data)
    with _explained(path, size, ".npy"):
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"format {version} is not known")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_MAX_HEADER)
        if not dtype.hasobject:
            return _read_numbers(data, file.tell(), shape, is_fortran, dtype)
        scan_pickle(data, OBJECT_ARRAYS, file.tell(), max_steps)
        content = _Unpickler(file, has_objects=True).load()
        check_expansion(content, allowed_bytes(size))
        return _plain(content)


def _read_numbers(
    data: bytes | mmap.mmap, start: int, shape: tuple[int, ...], is_fortran: bool, dtype: np.dtype
) -> np.ndarray:
    count = math.prod(shape)
    if dtype.kind not in "biuf" or count * dtype.itemsize != len(data) - start:
        raise ValueError(f"it claims {dtype} values of shape {shape} and has {len(data) - start:,} bytes")
    return np.frombuffer(data[start:], dtype, count).reshape(shape, order="F" if is_fortran else "C")


def _plain(value: Any) -> Any:
    """Without the arrays of this module and without arrays of objects."""
    if isinstance(value, np.ndarray):
        if not value.dtype.hasobject:
            return value.view(np.ndarray)
        if value.ndim > 1:
            raise ValueError(f"it holds an array of objects of shape {value.shape}")
        return _plain(value.tolist())  # the object itself where there is no axis
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return type(value)(_plain(item) for item in value) if isinstance(value, (list, tuple)) else value


@contextlib.contextmanager
def _explained(path: str | Path, size: int, kind: str) -> Iterator[None]:
    """Whatever goes wrong in the block becomes an InputError."""
    try:
        yield
    except RefusedPickleError as error:
        raise InputError(
            f"'{path}' is refused: {error}, but only numbers, strings, plain containers and NumPy arrays of numbers "
            "are read, because a pickle can run any program; get the file from where it is published"
        ) from error
    except _DAMAGE as error:
        raise InputError(
            f"'{path}' ({size:,} bytes) is not a complete {kind} file; copy or download it again "
            f"({type(error).__name__}: {error})"
        ) from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, has_objects: bool = False) -> None:
        super().__init__(file, encoding="latin1")  # Python 2 wrote the bytes of its arrays as text
        self._has_objects = has_objects

    def find_class(self, module: str, name: str) -> Any:
        if self._has_objects and f"{module}.{name}" == "numpy.ndarray":
            return _OBJECT_ARRAY
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


class _ObjectArray(_Array):
    """An array that may hold a list of objects, one for each place."""

    def __setstate__(self, state: Any, /) -> None:
        _, shape, dtype, is_fortran, data = state
        if not dtype.value.hasobject:
            super().__setstate__(state)
        elif not isinstance(data, list) or math.prod(shape) != len(data) or min(shape, default=0) < 0:
            raise ValueError(f"an array of objects of shape {tuple(shape)} has not as many")
        else:
            np.ndarray.__setstate__(self, cast(Any, (1, tuple(shape), dtype.value, bool(is_fortran), data)))


def _reconstruct(kind: Any, *_: Any) -> _Array:
    return (_ObjectArray if kind is _OBJECT_ARRAY else _Array)((0,), np.uint8)  # its state follows


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


_OBJECT_ARRAY = _StandIn(_ObjectArray)  # named as a type, and never called
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
