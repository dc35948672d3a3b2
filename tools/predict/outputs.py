"""Where results go: tables by their suffix, or JSON lines on standard output."""

import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pointrecon.utils.errors import InputError

SUFFIXES = (".npz", ".h5", ".csv", ".jsonl", ".parquet")


def check_out(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Found out before the work, not after it."""
    if path.suffix.lower() not in suffixes:
        raise InputError(f"--out is '{path}', but must end with one of: {' '.join(suffixes)}")
    if not path.parent.is_dir():
        raise InputError(f"the folder of --out '{path}' is not there; make it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"the folder of --out '{path}' cannot be written")


def write(out: str | None, columns: Mapping[str, Any]) -> None:
    """Columns to a file by its suffix, or as JSON lines to standard output."""
    import numpy as np

    from pointrecon.utils.files.io import atomic_write

    arrays: dict[str, Any] = {name: np.asarray(values) for name, values in columns.items() if name != "skipped"}
    count = len(arrays["ids"])
    if out is None:
        sys.stdout.writelines(_lines(arrays, count))
        return
    suffix = Path(out).suffix.lower()
    with atomic_write(out) as temporary:
        if suffix == ".npz":
            with temporary.open("wb") as file:
                np.savez(file, **arrays)
        elif suffix == ".h5":
            import h5py

            with h5py.File(temporary, "w") as store:
                for name, array in arrays.items():
                    store[name] = array.astype(object) if array.dtype.kind == "U" else array
        elif suffix == ".jsonl":
            with temporary.open("w", encoding="utf-8") as text:
                text.writelines(_lines(arrays, count))
        elif suffix == ".csv":
            with temporary.open("w", encoding="utf-8", newline="") as text:
                csv.writer(text).writerows(_rows(arrays, count))
        else:
            _write_parquet(temporary, arrays, count)


def _lines(arrays: Mapping[str, Any], count: int) -> list[str]:
    rows = (
        {name: array[row].tolist() for name, array in arrays.items() if len(array) == count} for row in range(count)
    )
    return [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]


def _rows(arrays: Mapping[str, Any], count: int) -> list[list[Any]]:
    """A header and a row a shape; arrays become a column for each of their values."""
    names = [name for name, array in arrays.items() if len(array) == count and array.ndim <= 2]
    header = [
        f"{name}_{column}" if arrays[name].ndim == 2 else name
        for name in names
        for column in range(arrays[name].shape[1] if arrays[name].ndim == 2 else 1)
    ]
    body = [[value for name in names for value in arrays[name][row].reshape(-1).tolist()] for row in range(count)]
    return [header, *body]


def _write_parquet(path: Path, arrays: Mapping[str, Any], count: int) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            "--out .parquet needs the package pyarrow; run: pip install pyarrow, or choose .npz"
        ) from error
    columns = {name: list(array) for name, array in arrays.items() if len(array) == count}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
