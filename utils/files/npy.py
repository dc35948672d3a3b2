"""Arrays in .npy files: the claimed size is held against the file's before anything is allocated."""

import math
import tokenize
from pathlib import Path

import numpy as np

from pointrecon.utils.errors import InputError

_MAX_HEADER = 10_000  # characters; NumPy's own limit
# TokenError: NumPy reads headers that Python 2 wrote word by word.
_DAMAGE = (OSError, ValueError, SyntaxError, TypeError, EOFError, MemoryError, RecursionError, tokenize.TokenError)
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(path: str | Path) -> np.ndarray:
    """Reads an array of numbers.

    Raises:
        InputError: The file is missing, truncated, no .npy file, or holds something else than numbers.
    """
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in _READERS:
                raise ValueError(f"format {version} is not known")
            shape, is_fortran, dtype = _READERS[version](file, max_header_size=_MAX_HEADER)
            count = math.prod(shape)
            if dtype.kind not in "biuf" or min(shape, default=0) < 0:
                raise ValueError(f"it holds {dtype} values of shape {shape}")
            size = Path(path).stat().st_size - file.tell()
            if count * dtype.itemsize != size:
                raise ValueError(f"it claims {count * dtype.itemsize:,} bytes of values and has {size:,}")
            values = np.fromfile(file, dtype, count)
    except _DAMAGE as error:
        raise InputError(f"'{path}' cannot be read; copy or download it again ({error})") from error
    return values.reshape(shape[::-1]).T if is_fortran else values.reshape(shape)
