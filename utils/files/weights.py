"""Files of weights: torch's own and safetensors. Reading one never runs code from it."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.checks.expansion import ExpansionError, check_expansion
from pointrecon.utils.files.io import atomic_write, check_file
from pointrecon.utils.files.checks.torch_archive import TorchFileError, check_torch_file

SAFETENSORS = ".safetensors"
MAX_EXPANSION = 16  # times the file's size, and
MIN_EXPANSION = 64 << 20  # bytes, whatever its size: what it may take if nothing in it were shared
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


def read_weights_file(path: str | Path) -> Any:
    """Reads a file onto the CPU.

    Args:
        path: `.safetensors`, or anything that `torch.save` wrote: tensors, containers, plain values, NumPy scalars.

    Returns:
        What was saved; of a safetensors file a dict with `base_model`, the tensors, and its metadata.

    Raises:
        InputError: there is no such file, it is damaged, or it holds objects of any other type.
    """
    path = check_file(path, "checkpoint")
    if path.suffix == SAFETENSORS:
        return _read_safetensors(path)
    stand_ins = [(_Dtype, "numpy.dtype"), _Dtype]
    stand_ins += [(_read_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    size = path.stat().st_size
    try:
        check_torch_file(path)
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
        check_expansion(content, MIN_EXPANSION + MAX_EXPANSION * size)
        return content
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


def write_safetensors(state: Mapping[str, Tensor], metadata: Mapping[str, Any], path: str | Path) -> None:
    """Writes tensors and, in the metadata, plain values, each as JSON under its name; whole or not at all."""
    from safetensors.torch import save_file

    texts = {name: json.dumps(value, default=float) for name, value in metadata.items()}
    # A file of this kind holds no views: each tensor gets memory of its own.
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, {"format": "pt", **texts})


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
    except (SafetensorError, *_DAMAGE) as error:
        raise InputError(f"checkpoint '{path}' ({path.stat().st_size:,} bytes) is no safetensors file") from error
    content: dict[str, Any] = {}
    for name, text in metadata.items():
        try:
            content[name] = json.loads(text)
        except (ValueError, RecursionError):
            content[name] = text  # another program's
    return {**content, "base_model": state}


class _Dtype:
    """Stands in for numpy.dtype: takes note of the type's name and of nothing else."""

    def __init__(self, name: str, align: bool = False, copy: bool = False) -> None:
        self.name = name
        self.order = "<"

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="


def _read_scalar(dtype: _Dtype, data: bytes) -> float | int | bool:
    """Stands in for what rebuilds a NumPy scalar, which published files have among their metrics."""
    if dtype.name[:1] not in "fiub":
        raise ValueError(f"a NumPy scalar of type '{dtype.name}'")
    return np.frombuffer(data, np.dtype(dtype.name).newbyteorder(dtype.order), count=1)[0].item()
