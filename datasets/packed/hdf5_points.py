"""Rows of an HDF5 file that are read when they are asked for.

Shape legend: n rows, P points a row.
"""

from pathlib import Path

import numpy as np

from pointrecon.utils.files.io import open_hdf5


class HDF5Points:
    """The values of one HDF5 data set, as an array that loader workers share.

    Values that lie in the file in one piece are memory-mapped: every process opens the map when it first needs it, and
    all of them read the same pages of the system's cache. Chunked or compressed values are read once, at the start,
    because a chunk spans many objects and would be decompressed for each of them; forked workers share that array.

    Args:
        path: The HDF5 file.
        name: The data set in it, (n, ...).

    Attributes:
        shape: Of all values.
        dtype: As stored.

    Raises:
        InputError: The file is missing, truncated or no HDF5 file, or `name` is not there, holds no numbers or cannot
            be read.
    """

    def __init__(self, path: str | Path, name: str = "data") -> None:
        self.path = Path(path)
        self.name = name
        self._map: np.ndarray | None = None
        with open_hdf5(self.path, (name,)) as file:
            # Numbers only: a map of anything else would follow pointers that are in the file.
            values = file.array(name)
            self.shape: tuple[int, ...] = values.shape
            self.dtype: np.dtype = values.dtype
            self._offset = values.id.get_offset()  # None: not in one piece
            self._rows = file.read(name) if self._offset is None else None

    @property
    def is_mapped(self) -> bool:
        """Whether the values stay in the file."""
        return self._offset is not None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | np.ndarray) -> np.ndarray:
        """Returns a copy of one row or of several."""
        return np.array(self._values()[rows])

    def first(self, count: int) -> np.ndarray:
        """Returns (n, count, ...): the first entries of each row, without reading the others where they are mapped."""
        return np.array(self._values()[:, :count])

    def __getstate__(self) -> dict:
        # A map is pickled as the whole array; the other process makes its own.
        return {**self.__dict__, "_map": None}

    def _values(self) -> np.ndarray:
        if self._rows is not None:
            return self._rows
        if self._map is None:
            self._map = np.memmap(self.path, dtype=self.dtype, mode="r", offset=self._offset, shape=self.shape)
        return self._map
