"""Where results go: tables by their suffix, or JSON lines on standard output."""

import csv
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pointrecon.utils.errors import InputError

SUFFIXES = (".npz", ".h5", ".csv", ".jsonl", ".parquet")


def check_out(path: Path, suffixes: Sequence[str] = SUFFIXES, flag: str = "--out") -> None:
    """Finds out before the work, not after it, that a file cannot be written.

    Raises:
        InputError: It ends otherwise, or its folder is not there or cannot be written.
    """
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{flag} is '{path}', but must end with one of: {' '.join(suffixes)}")
    if not path.parent.is_dir():
        raise InputError(f"the folder of {flag} '{path}' is not there; make it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"the folder of {flag} '{path}' cannot be written")


def write(out: str | None, columns: Mapping[str, Any], names: Mapping[str, Sequence[str]] | None = None) -> None:
    """Columns to a file by its suffix, or as JSON lines to standard output.

    Args:
        out: The file; None: standard output.
        columns: Values of each shape, n of each; `skipped` is left out.
        names: What the values of a column stand for, by the name of the column: in .csv they name its columns, in JSON
            its values, in .npz and .h5 they are an array of their own, `<column>_names`.
    """
    import numpy as np

    from pointrecon.utils.files.io import atomic_write

    arrays: dict[str, Any] = {name: np.asarray(values) for name, values in columns.items() if name != "skipped"}
    names = names or {}
    if out is None:
        sys.stdout.writelines(_lines(arrays, names))
        return
    suffix = Path(out).suffix.lower()
    whole = {**arrays, **{f"{name}_names": np.asarray(values) for name, values in names.items()}}
    with atomic_write(out) as temporary:
        if suffix == ".npz":
            with temporary.open("wb") as file:
                np.savez(file, **whole)
        elif suffix == ".h5":
            import h5py

            with h5py.File(temporary, "w") as store:
                for name, array in whole.items():
                    store[name] = array.astype(object) if array.dtype.kind == "U" else array
        elif suffix == ".jsonl":
            with temporary.open("w", encoding="utf-8") as text:
                text.writelines(_lines(arrays, names))
        elif suffix == ".csv":
            with temporary.open("w", encoding="utf-8", newline="") as text:
                csv.writer(text).writerows(_rows(arrays, names))
        else:
            _write_parquet(temporary, arrays)


def _lines(arrays: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for row in range(len(arrays["ids"])):
        values = {name: array[row].tolist() for name, array in arrays.items()}
        values |= {name: dict(zip(keys, values[name], strict=True)) for name, keys in names.items()}
        yield json.dumps(values, ensure_ascii=False) + "\n"


def _rows(arrays: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> Iterator[list[Any]]:
    """A header and a row a shape; vectors become a column for each of their values, and clouds are left out."""
    kept = {name: array for name, array in arrays.items() if array.ndim <= 2}
    yield [
        name if array.ndim == 1 else f"{name}_{key}"
        for name, array in kept.items()
        for key in (names.get(name) or range(array.shape[1] if array.ndim == 2 else 1))
    ]
    for row in range(len(arrays["ids"])):
        yield [value for array in kept.values() for value in array[row].reshape(-1).tolist()]


def _write_parquet(path: Path, arrays: Mapping[str, Any]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            "--out .parquet needs the package pyarrow; run: pip install 'pointrecon[parquet]', or choose .npz"
        ) from error
    pyarrow.parquet.write_table(pyarrow.table({name: array.tolist() for name, array in arrays.items()}), path)
