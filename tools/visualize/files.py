"""Reads what a run leaves for its pictures, and says which file is at fault."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import check_file
from pointrecon.utils.files.json_text import JsonError, parse_json
from pointrecon.utils.files.npy import read_npz
from pointrecon.utils.yaml_text import YAML_ERRORS, parse

LARGEST = 2.0**53


def read_arrays(path: Path, shapes: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Reads arrays from an .npz file.

    Args:
        path: the file.
        shapes: for each array one character a dimension: a digit is that length, a letter any length, the same
            wherever it stands. {"points": "nN3", "names": "n"}.

    Raises:
        InputError: the file is missing or broken, lacks an array, one has another shape, or a number is not finite.
    """
    path = check_file(path, "picture data")
    try:
        found = read_npz(path)
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' is not a complete .npz file; run the evaluation again ({error})") from error
    arrays = {name: values for name, values in found.items() if name in shapes}
    missing = [name for name in shapes if name not in arrays]
    if missing:
        raise InputError(f"'{path}' lacks {', '.join(missing)}; it holds: {', '.join(sorted(found)) or 'nothing'}")
    lengths: dict[str, int] = {}
    for name, shape in shapes.items():
        array = arrays[name]
        if array.ndim != len(shape) or any(
            length != (int(key) if key.isdigit() else lengths.setdefault(key, length))
            for key, length in zip(shape, array.shape, strict=False)
        ):
            known = ", ".join(f"{key}={length}" for key, length in lengths.items())
            wanted = ", ".join(shape) + ("," if len(shape) == 1 else "")
            raise InputError(f"'{path}': {name} has the shape {array.shape}, but must be ({wanted}) with {known}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"'{path}': {name} holds NaN or infinity; the run that wrote it has diverged")
    if 0 in lengths.values():
        raise InputError(f"'{path}' holds no objects; there is nothing to draw")
    return arrays


def describe_origin(folder: Path) -> str:
    """Says what a run is: its name, its config and its data set, "pretrain-seed0 (quickstart/pretrain, SweetHome3D)".

    Args:
        folder: the run folder, <root>/<config stem>/<config parent>/<name>; without its config.yaml the name is all.
    """
    try:
        data = parse((folder / "config.yaml").read_text(encoding="utf-8"))["data"]["type"]
    except (OSError, *YAML_ERRORS):
        return folder.name
    return f"{folder.name} ({folder.parent.name}/{folder.parent.parent.name}, {data})"


def check_classes(path: Path, num_classes: int, **columns: np.ndarray) -> None:
    """Refuses class indices outside 0 .. num_classes - 1."""
    for name, column in columns.items():
        is_whole = column.dtype.kind in "iu"
        if not is_whole or column.min() < 0 or column.max() >= num_classes:
            found = f"lie between {column.min()} and {column.max()}" if is_whole else f"are of the type {column.dtype}"
            raise InputError(
                f"'{path}': {name} must be whole numbers from 0 to {num_classes - 1}, one a class, but {found}"
            )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads metrics.jsonl: the records in their order.

    Raises:
        InputError: the file is missing, or a line is no record. A half line at the end, as a process leaves that was
            killed, is passed over.
    """
    path = check_file(path, "metrics file")
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' is no text file; expected one JSON object a line") from error
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = parse_json(line)
        except JsonError as error:
            if number == len(lines) and records:
                break
            raise InputError(f"'{path}', line {number}, is not valid JSON: {error}") from error
        if not isinstance(record, dict) or "split" not in record or not _is_sensible(record.get("epoch")):
            raise InputError(f"'{path}', line {number}, is no record with `split` and `epoch`: {line[:60]}")
        huge = [name for name, value in record.items() if isinstance(value, int) and not _is_sensible(value)]
        records.append({**record, **dict.fromkeys(huge, math.nan)})
    return records


def _is_sensible(value: Any) -> bool:
    """Whether it is a number that both a float and a whole number can be."""
    return isinstance(value, (int, float)) and -LARGEST < value < LARGEST
