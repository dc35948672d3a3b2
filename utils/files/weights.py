"""Files of weights: torch's own and safetensors. Reading one never runs code from it."""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.checks.expansion import ExpansionError, check_expansion
from pointrecon.utils.files.checks.limits import allowed_bytes
from pointrecon.utils.files.checks.torch_archive import TorchFileError, check_torch_file
from pointrecon.utils.files.io import atomic_write, check_file
from pointrecon.utils.files.json_text import JsonError, parse_json
from pointrecon.utils.files.left_objects import LeftObject, LeftObjects

SAFETENSORS = ".safetensors"
NOTES = "notes."  # in such a file: tensors that are no weights
MAX_HEADER = 16 << 20  # bytes of JSON in one; 100,000 tensors need 10 MB
# What torch raises on damaged files.
_DAMAGE = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
)


@dataclass(frozen=True)
class WeightsFile:
    """What a file of weights holds.

    Attributes:
        content: What was saved; of a safetensors file a dict with `base_model`, the tensors, and its metadata.
        left_out: Where in it objects of other programs were, with their types, such as 'args (argparse.Namespace)'.
            They are not built, and what holds them is not in `content`.
    """

    content: Any
    left_out: tuple[str, ...] = ()


def read_weights(path: str | Path) -> WeightsFile:
    """Reads a file onto the CPU.

    Args:
        path: `.safetensors`, or anything that `torch.save` wrote: tensors, containers, plain values, NumPy scalars, and
            beside them objects of other programs.

    Raises:
        InputError: There is no such file, it is damaged, or it is nothing but an object of another program.
    """
    path = check_file(path, "checkpoint")
    if path.suffix == SAFETENSORS:
        return WeightsFile(_read_safetensors(path))
    size = path.stat().st_size
    try:
        left = LeftObjects(check_torch_file(path))
        stand_ins = [*_SCALARS, *left.stand_ins]
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
        left_out = left.take_out(content)
        check_expansion(content, allowed_bytes(size))
        return WeightsFile(content, left_out)
    except (TorchFileError, ExpansionError) as error:
        raise InputError(
            f"checkpoint '{path}' ({size:,} bytes) is damaged, or holds objects other than tensors and plain values: "
            f"{error}"
        ) from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"checkpoint '{path}' is damaged, or holds objects other than tensors and plain values"
        ) from error
    except _DAMAGE as error:
        raise InputError(f"checkpoint '{path}' ({size:,} bytes) is damaged or no checkpoint") from error


def read_weights_file(path: str | Path) -> Any:
    """Returns the content that `read_weights` reads, without saying what was left out of it."""
    return read_weights(path).content


def write_safetensors(state: Mapping[str, Tensor], notes: Mapping[str, Any], path: str | Path) -> None:
    """Writes tensors and what else is known of them; whole or not at all.

    Args:
        state: the tensors.
        notes: plain values, which go into the metadata as JSON, each under its name; tensors and dicts of tensors,
            which become tensors called `notes.NAME` and `notes.NAME.KEY`.
        path: the file.
    """
    from safetensors.torch import save_file

    held = {name: value for name, value in notes.items() if _holds_tensors(value)}
    texts = {name: json.dumps(value, default=float) for name, value in notes.items() if name not in held}
    tensors = dict(state)
    for name, value in held.items():
        parts = {"": value} if isinstance(value, Tensor) else {f".{key}": item for key, item in value.items()}
        tensors |= {f"{NOTES}{name}{key}": item for key, item in parts.items()}
    # A file of this kind holds no views: each tensor gets memory of its own.
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, {"format": "pt", **texts})


def _holds_tensors(value: Any) -> bool:
    parts = value.values() if isinstance(value, Mapping) else [value]
    return bool(parts) and all(isinstance(item, Tensor) for item in parts)


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            state, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
    except (SafetensorError, *_DAMAGE) as error:
        raise InputError(f"checkpoint '{path}' ({path.stat().st_size:,} bytes) is no safetensors file") from error
    content: dict[str, Any] = {}
    for name, text in metadata.items():
        try:
            content[name] = parse_json(text)
        except JsonError:
            content[name] = text  # another program's
    for key in [key for key in state if key.startswith(NOTES)]:
        name, _, part = key.removeprefix(NOTES).partition(".")
        value = state.pop(key)
        if not part:
            content[name] = value
        elif isinstance(found := content.setdefault(name, {}), dict):
            found[part] = value
    return {**content, "base_model": state}


def _check_header(path: Path) -> None:
    """The header is JSON, of which its reader makes objects; it says itself how long it is."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:
        raise ValueError(f"its header claims {length:,} bytes")


class _Dtype:
    """Stands in for numpy.dtype: takes note of the type's name and of nothing else."""

    def __init__(self, name: str, align: bool = False, copy: bool = False) -> None:
        self.name = name
        self.order: Literal["<", ">", "="] = "<"

    def __setstate__(self, state: tuple) -> None:
        self.order = "<" if state[1] == "<" else ">" if state[1] == ">" else "="


def _read_scalar(dtype: _Dtype, data: bytes) -> Any:
    """Stands in for what rebuilds a NumPy scalar, which published files have among their metrics."""
    if dtype.name[:1] not in "fiubU":
        left = LeftObject()
        left.type_name = f"NumPy scalar of type {dtype.name}"
        return left
    return np.frombuffer(data, np.dtype(dtype.name).newbyteorder(dtype.order), count=1)[0].item()


_SCALARS: list[Any] = [(_Dtype, "numpy.dtype"), _Dtype]
_SCALARS += [(_read_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
