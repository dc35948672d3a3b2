"""Arrays in .npy and .npz files: claimed sizes are held against those of the file before anything is allocated."""

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.archives import open_zip

_PIECE = 1 << 20
_MAX_HEADER = 10_000  # characters; NumPy's own limit
# TokenError: NumPy reads headers that Python 2 wrote word by word.
_DAMAGE = (OSError, ValueError, SyntaxError, TypeError, EOFError, MemoryError, RecursionError, tokenize.TokenError)
_NPZ_DAMAGE = (
    ValueError,
    SyntaxError,
    TypeError,
    EOFError,
    MemoryError,
    RecursionError,
    RuntimeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(path: str | Path) -> np.ndarray:
    """Reads an array of numbers.

    Raises:
        InputError: The file is missing, truncated, no .npy file, or holds something else than numbers.
    """
    try:
        with open(path, "rb") as file:
            return _read(file, Path(path).stat().st_size, "biuf")
    except _DAMAGE as error:
        raise InputError(f"'{path}' cannot be read; copy or download it again ({error})") from error


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Reads all arrays of numbers and texts of a .npz file, by name.

    Raises:
        NpzError: The file is no archive, is damaged, holds anything else, or becomes larger than it may.
        OSError: It cannot be read.
    """
    arrays = {}
    try:
        with open_zip(Path(path)) as archive:
            for info in archive.infolist():
                with archive.open(info) as member:
                    arrays[info.filename.removesuffix(".npy")] = _read(member, info.file_size, "biufcSU")
    except _NPZ_DAMAGE as error:
        raise NpzError(f"{type(error).__name__}: {error}") from error
    return arrays


class NpzError(ValueError):
    """The file is no .npz file, or becomes larger than it may."""


def _read(file: IO[bytes], size: int, kinds: str) -> np.ndarray:
    """An array from a file that has `size` bytes in all."""
    version = np.lib.format.read_magic(file)
    if version not in _READERS:
        raise ValueError(f"format {version} is not known")
    shape, is_fortran, dtype = _READERS[version](file, max_header_size=_MAX_HEADER)
    count = math.prod(shape)
    if dtype.kind not in kinds or not dtype.itemsize or min(shape, default=0) < 0:
        raise ValueError(f"it holds {dtype} values of shape {shape}")
    left = size - file.tell()
    if count * dtype.itemsize != left:
        raise ValueError(f"it claims {count * dtype.itemsize:,} bytes of values and has {left:,}")
    buffer = np.empty(left, np.uint8)
    place, data = 0, buffer.data
    while place < left:
        piece = file.read(min(_PIECE, left - place))
        if not piece:
            raise EOFError(f"it ends {left - place:,} bytes too early")
        data[place : place + len(piece)] = piece
        place += len(piece)
    values = buffer.view(dtype)
    return values.reshape(shape[::-1]).T if is_fortran else values.reshape(shape)
