"""What pickles may ask for: those of arrays and plain containers, and those that torch writes.

Every function that a pickle may call has a rule here that looks at the arguments before anything is built: a list that
holds one list ten times, which holds one list ten times, and so on, is small until something walks through it.
"""

import re

import numpy as np

from pointrecon.utils.files.checks.pickle_items import Build, Call, Item, Policy, refuse

MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
BUILTINS = ("builtins", "__builtin__")  # Python 3's name, Python 2's name
STORAGE = re.compile(r"(?:torch|torch\.storage) (\w+)Storage$")
_TORCH_DTYPE = re.compile(r"torch (b?float\d+|u?int\d+|bool|complex\d+|half|float|double|long|int|short)$")
OBJECT_DTYPE = "numpy dtype of objects"
_MAX_CODE = 32  # characters of a type's code
# Who asks for one of these wants a program to run, or has weights of a kind that is not known here.
_NOT_LEFT = re.compile(
    r"(os|posix|nt|sys|subprocess|shutil|socket|runpy|importlib|ctypes|code|pty|operator|functools|pickle|cPickle"
    r"|marshal|types|multiprocessing|asyncio|webbrowser|commands|torch|numpy\.testing)[. ]"
    r"|(builtins|__builtin__) (?!(object|list|dict|tuple|int|float|str|bool)$)"
)


def _check(name: str, arguments: tuple[Item, ...], *kinds: str, optional: int = 0) -> None:
    """Holds arguments against kinds, several separated by '|'; the last `optional` may be missing."""
    is_right = len(kinds) - optional <= len(arguments) <= len(kinds)
    if not is_right or any(item.kind not in kind.split("|") for item, kind in zip(arguments, kinds, strict=False)):
        refuse(f"it gives '{name.replace(' ', '.')}' other arguments than such a file needs")


def _is_numbers(item: Item) -> bool:
    return item.kind == "tuple" and all(part.kind == "number" for part in item.value)


def _check_dtype(name: str, item: Item) -> None:
    if item.kind != "object" or item.value != "numpy dtype":
        refuse(f"it holds an array whose type is no NumPy type, for '{name.replace(' ', '.')}'")


def _dtype(arguments: tuple[Item, ...]) -> Item:
    _check("numpy dtype", arguments, "text", "number", "number", optional=2)
    code = arguments[0].value
    try:
        dtype = np.dtype(code if isinstance(code, str) and len(code) <= _MAX_CODE else "O")
    except (TypeError, ValueError, SyntaxError):
        refuse("it holds an array of a type that NumPy has not")
    if dtype.kind not in "biufcSU":
        refuse(f"it holds an array of type '{dtype}'")
    return Item("object", "numpy dtype")


def _dtype_or_object(arguments: tuple[Item, ...]) -> Item:
    _check("numpy dtype", arguments, "text", "number", "number", optional=2)
    return Item("object", OBJECT_DTYPE) if arguments[0].value in ("O", "O8", "|O") else _dtype(arguments)


def _any_dtype(arguments: tuple[Item, ...]) -> Item:
    """In files of torch nothing is made of a type but numbers, and those are looked at when they are."""
    _check("numpy dtype", arguments, "text", "number", "number", optional=2)
    if arguments[0].value is None or len(arguments[0].value) > _MAX_CODE:
        refuse("it holds an array of a type that NumPy has not")
    return Item("object", "numpy dtype")


def _tuple_state(state: Item) -> None:
    if state.kind != "tuple" or len(state.value) < 2:
        refuse("it holds an array of a type that NumPy has not")


def _dtype_state(state: Item) -> None:
    if state.kind != "tuple" or len(state.value) < 2 or state.value[1].kind != "text":
        refuse("it holds an array of a type that NumPy has not")
    if any(item.kind != "none" for item in state.value[2:5]):
        refuse("it holds an array with fields")


def _reconstruct(arguments: tuple[Item, ...]) -> Item:
    _check("numpy reconstruct", arguments, "name", "tuple", "bytes|text")
    if arguments[0].value != "numpy ndarray":
        refuse("it holds an array of another class than NumPy's")
    return Item("object", "numpy ndarray")


def _array_state(state: Item) -> None:
    parts: tuple[Item, ...] = tuple(state.value) if state.kind == "tuple" else ()
    if len(parts) != 5 or parts[0].kind != "number" or not _is_numbers(parts[1]) or parts[3].kind != "number":
        refuse("it holds an array of a form that NumPy does not write")
    _check_dtype("numpy ndarray", parts[2])
    if parts[4].kind == "list":
        refuse("it holds an array of objects")
    if parts[4].kind not in ("bytes", "text"):
        refuse(f"it holds an array made of a value of kind '{parts[4].kind}'")


def _any_array_state(state: Item) -> None:
    """As `_array_state`, but objects may be in a list, one for each place."""
    parts: tuple[Item, ...] = tuple(state.value) if state.kind == "tuple" else ()
    is_of_objects = len(parts) == 5 and parts[2].kind == "object" and parts[2].value == OBJECT_DTYPE
    if not is_of_objects:
        _array_state(state)
        return
    if parts[0].kind != "number" or not _is_numbers(parts[1]) or parts[3].kind != "number" or parts[4].kind != "list":
        refuse("it holds an array of a form that NumPy does not write")


def _scalar(arguments: tuple[Item, ...]) -> Item:
    _check("numpy scalar", arguments, "object", "bytes|text")
    _check_dtype("numpy scalar", arguments[0])
    return Item("number")


def _frombuffer(arguments: tuple[Item, ...]) -> Item:
    _check("numpy frombuffer", arguments, "bytes|text", "object", "tuple", "text", "tuple|none", optional=1)
    _check_dtype("numpy frombuffer", arguments[1])
    if not all(_is_numbers(item) for item in arguments[2:] if item.kind == "tuple"):
        refuse("it holds an array of a shape that is none")
    return Item("object", "numpy frombuffer")


def _encode(arguments: tuple[Item, ...]) -> Item:
    _check("_codecs encode", arguments, "text", "text")
    if arguments[1].value not in ("latin1", "latin-1"):
        refuse("it asks for another encoding than latin1")
    return Item("bytes", size=arguments[0].size)


def _bytearray(arguments: tuple[Item, ...]) -> Item:
    # The type itself takes a number as well, of zeros, which may be more than there is memory.
    if len(arguments) == 2:
        return _encode(arguments)
    _check("builtins bytearray", arguments, "bytes", optional=1)
    return Item("bytes", size=sum(item.size for item in arguments))


def _bytes(arguments: tuple[Item, ...]) -> Item:
    _check("builtins bytes", arguments)
    return Item("bytes")


def _set(arguments: tuple[Item, ...]) -> Item:
    _check("builtins set", arguments, "list|tuple", optional=1)
    return Item("set")


def _complex(arguments: tuple[Item, ...]) -> Item:
    _check("builtins complex", arguments, "number", "number")
    return Item("number")


def _ordered_dict(arguments: tuple[Item, ...]) -> Item:
    _check("collections OrderedDict", arguments, "list", optional=1)
    return Item("dict", "collections OrderedDict")


def _counter(arguments: tuple[Item, ...]) -> Item:
    _check("collections Counter", arguments, "dict", optional=1)
    return Item("dict", "collections Counter")


def _constant(name: str, *kinds: str, optional: int = 0) -> Call:
    def rule(arguments: tuple[Item, ...]) -> Item:
        _check(name, arguments, *kinds, optional=optional)
        return Item("object", name)

    return rule


def _tensor(arguments: tuple[Item, ...]) -> Item:
    """A tensor lies within its storage: torch makes room for what lies beyond."""
    name = "torch._utils _rebuild_tensor"
    _check(name, arguments, "storage", "number", "tuple", "tuple", "number", "dict", "dict|none", optional=3)
    storage, offset, size, stride = arguments[:4]
    if not _is_numbers(size) or not _is_numbers(stride) or len(size.value) != len(stride.value):
        refuse("it has a tensor of a size that is none")
    numbers = [storage.value, offset.value, *(item.value for item in (*size.value, *stride.value))]
    if any(type(number) is not int or number < 0 for number in numbers):
        refuse("it has a tensor of a size that is none")
    lengths, steps = [item.value for item in size.value], [item.value for item in stride.value]
    last = offset.value + sum((length - 1) * step for length, step in zip(lengths, steps, strict=True))
    if 0 not in lengths and last >= storage.value:
        refuse(f"a tensor claims {last + 1:,} numbers, and its storage has not that many")
    return Item("object", "torch tensor")


def _ordered_dict_state(state: Item) -> None:
    if state.kind != "dict":
        refuse("it gives a dictionary a state that is none")


_ARRAY_CALLS: dict[str, Call] = {
    "numpy dtype": _dtype,
    "_codecs encode": _encode,  # how protocols 0 to 2 store bytes
    "collections OrderedDict": _ordered_dict,
    **{f"{module} _reconstruct": _reconstruct for module in MULTIARRAY},
    **{f"{module} scalar": _scalar for module in MULTIARRAY},
    **{f"{module} _frombuffer": _frombuffer for module in NUMERIC},
    **{f"{module} {name}": _set for module in BUILTINS for name in ("set", "frozenset")},
    **{f"{module} complex": _complex for module in BUILTINS},
    **{f"{module} bytearray": _bytearray for module in BUILTINS},
    **{f"{module} bytes": _bytes for module in BUILTINS},
}
_ARRAY_BUILDS: dict[str, Build] = {"numpy dtype": _dtype_state, "numpy ndarray": _array_state}
_TORCH_CALLS: dict[str, Call] = {
    "collections OrderedDict": _ordered_dict,
    "collections Counter": _counter,
    **{f"{module} set": _set for module in BUILTINS},
    **{f"{module} complex": _complex for module in BUILTINS},
    **{f"{module} bytearray": _bytearray for module in BUILTINS},
    "_codecs encode": _encode,
    "numpy dtype": _any_dtype,
    **{f"{module} scalar": _scalar for module in MULTIARRAY},
    "torch Size": _constant("torch Size", "tuple"),
    "torch device": _constant("torch device", "text", "number", optional=1),
    "torch.nn.parameter Parameter": _constant("torch Parameter", "object", "number", optional=1),
    "torch.serialization _get_layout": _constant("torch _get_layout", "text"),
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _constant("torch Parameter", "object", "number", "dict"),
}
_TORCH_BUILDS: dict[str, Build] = {
    "numpy dtype": _tuple_state,
    "collections OrderedDict": _ordered_dict_state,
}


def _is_torch_value(name: str) -> bool:
    return bool(_TORCH_DTYPE.match(name) or STORAGE.match(name))


def _is_left(name: str) -> bool:
    return name not in _TORCH_CALLS and not _is_torch_value(name) and not _NOT_LEFT.match(name)


def _is_ndarray(name: str) -> bool:
    return name == "numpy ndarray"


# As in .npy files of Python objects.
OBJECT_ARRAYS = Policy(
    {**_ARRAY_CALLS, "numpy dtype": _dtype_or_object},
    {"numpy dtype": _dtype_state, OBJECT_DTYPE: _dtype_state, "numpy ndarray": _any_array_state},
    is_value=_is_ndarray,
)
ARRAYS = Policy(_ARRAY_CALLS, _ARRAY_BUILDS, is_value=_is_ndarray)
TORCH = Policy(_TORCH_CALLS, _TORCH_BUILDS, is_value=_is_torch_value, is_left=_is_left, has_storages=True)
