"""Untrusted HDF5 files: checked when they are opened, and read in amounts that fit their size.

HDF5 can do more than hold arrays. A file may send its reader to other files (external links, external storage, virtual
data sets), claim sizes that nothing backs, and have filters that blow up. All of that is refused here by name.
"""

import math
import mmap
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from h5py import h5d

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.checks.hdf5_chunks import ChunkError, check_chunks
from pointrecon.utils.files.checks.hdf5_headers import is_virtual
from pointrecon.utils.files.checks.hdf5_heap import check_heaps
from pointrecon.utils.files.checks.limits import allowed_bytes

UNREAD = 128 << 20  # bytes that may be claimed by what may never be read, such as a mask of one value
SMALL = 64 << 20  # bytes of a file that is searched as a whole; of larger ones, only what lies between the arrays
MAX_OBJECTS = 10_000
MAX_ATTRIBUTE_VALUES = 10_000
_BLOCK = 64  # texts that are read together if their sizes are not known
_CHECKED: set[tuple] = set()  # chunks that this process has been through; a start opens a file several times
# What h5py and NumPy raise on damaged files.
_DAMAGE = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    AssertionError,
    SystemError,
)


class CheckedFile(h5py.File):
    """An open file that refers to no other file. In a `with` block, what damage raises becomes an InputError.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be opened.
        InputError: It refers to other files, claims sizes that nothing backs, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "r")
        self._path = path
        self._state = path.stat()
        self._size = self._state.st_size
        self._arrays: list[tuple[int, int]] = []  # from where to where they are in the file
        try:
            if self.id.get_create_plist().get_sizes() != (8, 8):
                raise self._refusal("its offsets are not of 8 bytes")
            # The library goes to the heaps as soon as it opens what keeps a list there, such as a virtual data set.
            is_small = self._size <= SMALL
            self._heaps = self._find_heaps() if is_small else set()
            self._check_group(self, [0])
            self._heaps = self._heaps if is_small else self._find_heaps()
        except BaseException as error:
            self.close()
            self._tell(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self:
            super().__exit__(kind, error, trace)
        self._tell(error)

    def read(self, name: str, kinds: str = "biuf", num_dims: int | None = None) -> np.ndarray:
        """Returns the values of a data set.

        Args:
            name: The data set.
            kinds: Letters of the types that are allowed, as in `dtype.kind`.
            num_dims: How many axes it must have; None: at least one.

        Raises:
            InputError: It is something else, or larger than the file can hold.
        """
        values = self.array(name, kinds, num_dims)
        self._check_size(values)
        return values[:]

    def array(self, name: str, kinds: str = "biuf", num_dims: int | None = None) -> h5py.Dataset:
        """Returns a data set without reading it; see `read`."""
        values = self[name]
        if not isinstance(values, h5py.Dataset) or not values.shape or None in values.shape:
            raise self._refusal(f"'{name}' is no array")
        if values.dtype.kind not in kinds or (num_dims is not None and len(values.shape) != num_dims):
            raise self._refusal(f"'{name}' is an array of {values.dtype} of shape {values.shape}, and should not be")
        return values

    def read_texts(self, name: str) -> list[str]:
        """Returns a list of texts.

        Raises:
            InputError: The data set is something else.
        """
        return [text.decode() for text in self.read_objects(name, is_text=True)]

    def read_objects(self, name: str, is_text: bool = False) -> list[Any]:
        """Returns the values of a data set whose values differ in length: bytes, or (length,) uint8 arrays.

        Raises:
            InputError: The data set is something else, or longer than the file can hold.
        """
        values = self.array(name, "OS", 1)
        is_right = h5py.check_string_dtype(values.dtype) if is_text else h5py.check_vlen_dtype(values.dtype) == np.uint8
        if not is_right:
            wanted = "text" if is_text else "bytes"
            raise self._refusal(f"'{name}' is an array of {values.dtype}, but must hold {wanted}")
        self._check_size(values)
        allowed = allowed_bytes(self._size)
        lengths = self._lengths(values)
        if lengths is not None:
            if lengths.sum() > allowed:
                raise self._refusal(f"'{name}' claims {lengths.sum():,} bytes")
            return list(values[:])
        items: list[Any] = []
        total = 0
        for start in range(0, len(values), _BLOCK):
            block = list(values[start : start + _BLOCK])
            total += sum(map(len, block))
            if total > allowed:
                raise self._refusal(f"'{name}' claims more than {allowed:,} bytes")
            items += block
        return items

    def text_attribute(self, name: str) -> str:
        """Returns an attribute of the file that is a text; an empty text if it is something else or not there."""
        value = self.attrs.get(name)
        return value if isinstance(value, str) else ""

    def _lengths(self, values: h5py.Dataset) -> np.ndarray | None:
        """Lengths of values that differ in length, as the file claims them; None if they do not lie in one piece."""
        offset, size = values.id.get_offset(), values.id.get_storage_size() // max(1, len(values))
        if values.dtype.kind != "O" or offset is None or size < 8:
            return None
        # On disk a value is its length in 4 bytes, little-endian, and the place where it is.
        claims = np.memmap(self._path, np.uint8, "r", offset, (len(values), size))
        lengths = np.ascontiguousarray(claims[:, :4]).view("<u4").astype(np.int64)[:, 0]
        places = np.ascontiguousarray(claims[:, 4:12]).view("<u8")[:, 0]
        if not set(np.unique(places[lengths > 0]).tolist()) <= self._heaps:
            raise self._refusal(f"values of '{values.name}' are not where it says")
        return lengths

    def _check_group(self, group: h5py.Group, count: list[int], depth: int = 0) -> None:
        self._check_attributes(group)
        for name in group:
            count[0] += 1
            place = f"{group.name.rstrip('/')}/{name}"
            if count[0] > MAX_OBJECTS or depth > 8:
                raise self._refusal(f"it has more than {MAX_OBJECTS:,} objects, or more than 8 groups in groups")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise self._refusal(f"'{place}' is a link, possibly to another file")
            if self._is_virtual(group, name):
                raise self._refusal(f"the values of '{place}' are in another file")
            item = group[name]
            if isinstance(item, h5py.Group):
                self._check_group(item, count, depth + 1)
            elif isinstance(item, h5py.Dataset):
                self._check_dataset(item, place)

    def _check_dataset(self, values: h5py.Dataset, name: str) -> None:
        plan = values.id.get_create_plist()
        if plan.get_layout() == h5d.VIRTUAL or plan.get_external_count():
            raise self._refusal(f"the values of '{name}' are in another file")
        chunk = math.prod(plan.get_chunk()) if plan.get_layout() == h5d.CHUNKED else 0
        if chunk * values.id.get_type().get_size() > allowed_bytes(self._size):
            raise self._refusal(f"'{name}' has chunks of {chunk:,} values")
        offset = values.id.get_offset()
        if offset is not None:
            end = offset + values.id.get_storage_size()
            if end > self._size:
                raise self._refusal(f"'{name}' claims to end at byte {end:,}")
            self._arrays.append((offset, end))
        elif plan.get_layout() == h5d.CHUNKED and self._size > SMALL:
            values.id.chunk_iter(lambda info: self._arrays.append((info.byte_offset, info.byte_offset + info.size)))
        self._check_size(values, spare=UNREAD)
        self._check_chunks(values, name)
        self._check_attributes(values)

    def _is_virtual(self, group: h5py.Group, name: str) -> bool:
        address = group.id.links.get_info(self._e(name)).u
        with open(self._path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return is_virtual(data, address, self.userblock_size)

    def _check_chunks(self, values: h5py.Dataset, name: str) -> None:
        key = (self._path.resolve(), self._state.st_ino, self._state.st_mtime_ns, self._size, name)
        if key in _CHECKED:
            return
        try:
            check_chunks(values, self._size)
        except ChunkError as error:
            raise self._refusal(f"of '{name}', {error}") from error
        _CHECKED.add(key)

    def _find_heaps(self) -> set[int]:
        """Checks the heaps and returns their places, as the file counts them."""
        with open(self._path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            places, last = [], 0
            for start, end in sorted(self._arrays) if self._size > SMALL else []:
                places.append((last, max(last, start)))
                last = max(last, end)
            heaps = check_heaps(data, [*places, (last, self._size)])
        base = self.userblock_size
        return {place - base for place in heaps}

    def _check_attributes(self, item: Any) -> None:
        for name in item.attrs:
            count = math.prod(item.attrs.get_id(name).shape or ())
            if count > MAX_ATTRIBUTE_VALUES:
                raise self._refusal(f"the attribute '{name}' of '{item.name}' claims {count:,} values")

    def _check_size(self, values: h5py.Dataset, spare: int = 0) -> None:
        claimed = math.prod(values.shape or ()) * values.id.get_type().get_size()
        stored = min(values.id.get_storage_size(), self._size)
        if claimed > spare + allowed_bytes(stored):
            raise self._refusal(
                f"'{values.name}' claims the shape {values.shape}, {claimed:,} bytes, but only {stored:,} are stored"
            )

    def _refusal(self, problem: str) -> InputError:
        return InputError(f"'{self._path}' ({self._size:,} bytes) is refused: {problem}; copy or download it again")

    def _tell(self, error: BaseException | None) -> None:
        if isinstance(error, _DAMAGE) and not isinstance(error, InputError):
            raise InputError(
                f"'{self._path}' ({self._size:,} bytes) is damaged; copy or download it again "
                f"({type(error).__name__}: {error})"
            ) from error
