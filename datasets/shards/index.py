"""Tar files with samples in them, as WebDataset lays them out: what is where in each, and the index that remembers it.

A sample is a run of members of one key: KEY.points.npy, KEY.json (id, label, text), KEY.image.npy, KEY.text.npy; what
has another ending is left alone. Members are never unpacked, unpickled or written anywhere, and whatever a header
claims is held against the size of the file before anything is allocated.
Shape legend: n samples.
"""

import functools
import io
import math
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pointrecon.datasets.checks import check_plain_names
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, read_json, write_json

FORMAT = "shards 1"
INDEX, POSITIONS = "index.json", "index.npy"
FIELDS = ("points.npy", "json", "image.npy", "text.npy")
MAX_BYTES = (256 << 20, 1 << 20, 64 << 20, 64 << 20)  # of each
# Columns of the positions: number of the shard, where each field starts, how long it is (0: not there), checksum.
OFFSETS, SIZES, CHECKSUM = slice(1, 5), slice(5, 9), 9
NUM_COLUMNS = 10
REMEDY = "copy it again, or make it again with scripts/prepare_data.py shards"
_BLOCK = 512  # a tar file is made of these
_MAX_EXTENDED = 64 << 10  # bytes of a member's further attributes
_MAX_HEADER = 10_000


class Index(NamedTuple):
    """What is in a folder of shards."""

    info: dict[str, Any]  # index.json
    positions: np.ndarray  # (n, 10) int64


def read_index(folder: Path) -> Index:
    """Reads the index of a folder and looks whether every shard is there and as long as it was.

    A folder without one, as other programs write them, is read through once and gets one if it can be written.

    Raises:
        InputError: There are no shards, one is missing or of another length, or the index is damaged.
    """
    if not (folder / INDEX).is_file():
        return _make_index(folder)
    info = read_json(folder / INDEX)
    path = folder / POSITIONS
    try:
        names = [shard["name"] for shard in info["shards"]]
        counts = [int(shard["num_samples"]) for shard in info["shards"]]
        sizes = [int(shard["bytes"]) for shard in info["shards"]]
        positions = np.load(path, mmap_mode="r", allow_pickle=False)
        is_whole = info["format"] == FORMAT and positions.dtype == np.int64 and all(count > 0 for count in counts)
        is_whole = is_whole and positions.shape == (sum(counts), NUM_COLUMNS) and len(counts) > 0
        is_whole = is_whole and all(_is_carried(info[kind]) for kind in ("image", "text") if kind in info)
    except (KeyError, TypeError, ValueError, OSError, EOFError) as error:
        raise InputError(
            f"the index of '{folder}' is damaged ({error!r}); remove {INDEX}, and it is made again"
        ) from error
    if not is_whole:
        raise InputError(
            f"'{folder / INDEX}' and {POSITIONS} do not fit each other; remove {INDEX}, and it is made again"
        )
    check_plain_names(names, folder / INDEX)
    for name, size in zip(names, sizes, strict=True):
        check_shard(folder / name, size)
    return Index(info, positions)


def check_shard(path: Path, num_bytes: int) -> None:
    """Raises InputError if a shard is missing or of another length."""
    if not path.is_file():
        raise InputError(f"shard '{path}' is missing; {REMEDY}")
    found = path.stat().st_size
    if found != num_bytes:
        what = "truncated" if found < num_bytes else "not the one"
        raise InputError(
            f"shard '{path}' is {what}: it has {found:,} bytes, but the index says {num_bytes:,}; {REMEDY}"
        )


def write_index(folder: Path, info: dict[str, Any], shards: dict[str, np.ndarray]) -> None:
    """Writes index.npy and index.json.

    Args:
        folder: Where the shards are.
        info: What else is to be said; goes into index.json.
        shards: Name of each shard -> its positions as `scan_shard` gives them.
    """
    index = _assemble(folder, info, shards)
    with atomic_write(folder / POSITIONS) as temporary:
        np.save(temporary, index.positions)
    write_json(index.info, folder / INDEX)


def scan_shard(path: Path) -> np.ndarray:
    """Reads a shard through.

    Returns:
        (n, 10) int64 positions of its samples in their order; the first column is 0.

    Raises:
        InputError: The file is no tar file, is truncated, has a link or another special member, a name that leads out
            of a folder, a member that is absurdly large, or a sample without points.
    """
    rows: list[np.ndarray] = []
    last = None
    with open(path, "rb") as file:
        for name, offset, size in walk(path, file):
            key, _, field = name.rpartition("/")[2].partition(".")
            key = name[: len(name) - len(field)]
            if field not in FIELDS:
                continue
            if key != last:
                rows.append(np.zeros(NUM_COLUMNS, dtype=np.int64))
                last = key
            number = FIELDS.index(field)
            _enter(rows[-1], number, name, offset, size, path)
            file.seek(offset)
            rows[-1][CHECKSUM] ^= checksum(file.read(size), number)
    bare = [number for number, row in enumerate(rows) if not row[SIZES][0]]
    if bare or not rows:
        what = f"sample {bare[0]} of shard '{path}' has no {FIELDS[0]}" if bare else f"shard '{path}' has no samples"
        raise InputError(f"{what}; {REMEDY}")
    return np.stack(rows)


def walk(path: Path, file: io.BufferedReader) -> Iterator[tuple[str, int, int]]:
    """Yields name, offset and size of each regular member of a tar file.

    Raises:
        InputError: As `scan_shard`.
    """
    total, at = path.stat().st_size, 0
    while True:
        file.seek(at)
        try:
            header = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "strict")
        except tarfile.EOFHeaderError:
            return
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise InputError(f"shard '{path}' is truncated or damaged at byte {at:,} ({error}); {REMEDY}") from error
        start, name = at + _BLOCK, header.name
        if not 0 <= header.size <= total - start:
            raise InputError(
                f"'{name}' in shard '{path}' claims {header.size:,} bytes, but {total - start:,} are left; {REMEDY}"
            )
        if header.type in (tarfile.XHDTYPE, tarfile.XGLTYPE):
            _check_extended(file, header, path)
        elif header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise InputError(f"'{name}' in shard '{path}' is a link or no plain file; shards have plain files only")
        elif name.startswith("/") or ".." in name.split("/") or "\\" in name:
            raise InputError(f"{name!r} in shard '{path}' leads out of its folder; shards have plain names only")
        else:
            yield name, start, header.size
        at = start + -(-header.size // _BLOCK) * _BLOCK


def checksum(data: bytes, field: int) -> int:
    """Of a field; those of a sample's fields are joined by exclusive or, whatever their order in the file."""
    return zlib.crc32(data, field)


def parse_npy(data: bytes, what: str) -> np.ndarray:
    """Reads an array of numbers from the bytes of a .npy file.

    Raises:
        InputError: It holds anything else, or claims another size than it has.
    """
    try:
        length = 10 + int.from_bytes(data[8:10], "little")
        shape, is_fortran, dtype = _parse_header(data[:length])
        if dtype.kind not in "iuf" or is_fortran or min(shape, default=0) < 0:
            raise ValueError(f"it holds {dtype} values of shape {shape}")
        if math.prod(shape) * dtype.itemsize != len(data) - length:
            raise ValueError(f"it claims values of shape {shape} and has {len(data) - length:,} bytes")
        return np.frombuffer(data, dtype, offset=length).reshape(shape).copy()
    except (ValueError, SyntaxError, TypeError, EOFError, MemoryError, RecursionError, OverflowError) as error:
        raise InputError(f"{what} is no array of numbers ({error}); {REMEDY}") from error


@functools.lru_cache(maxsize=256)
def _parse_header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("its format is not version 1.0")
    return np.lib.format.read_array_header_1_0(file, max_header_size=_MAX_HEADER)


def _enter(row: np.ndarray, field: int, name: str, offset: int, size: int, path: Path) -> None:
    if size > MAX_BYTES[field] or not size:
        raise InputError(
            f"'{name}' in shard '{path}' has {size:,} bytes, but may have 1 to {MAX_BYTES[field]:,}; {REMEDY}"
        )
    if row[SIZES][field]:
        raise InputError(f"'{name}' is in shard '{path}' twice; {REMEDY}")
    row[OFFSETS][field], row[SIZES][field] = offset, size


def _check_extended(file: io.BufferedReader, header: tarfile.TarInfo, path: Path) -> None:
    """Further attributes may say when a member was written, but not where it is or how large."""
    data = file.read(header.size) if header.size <= _MAX_EXTENDED else b" size="
    if any(key in data for key in (b" path=", b" size=", b" linkpath=", b" GNU.sparse")):
        raise InputError(
            f"'{header.name}' in shard '{path}' has a long name or is too large; shards have short names only"
        )


def _make_index(folder: Path) -> Index:
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise InputError(f"there are no shards in '{folder}'; make them with scripts/prepare_data.py shards")
    shards = {path.name: scan_shard(path) for path in paths}
    try:
        write_index(folder, {}, shards)
    except (InputError, OSError):  # a folder that is only read: nothing is remembered
        return _assemble(folder, {}, shards)
    return read_index(folder)


def _assemble(folder: Path, info: dict[str, Any], shards: dict[str, np.ndarray]) -> Index:
    counts = {name: len(rows) for name, rows in shards.items()}
    positions = np.concatenate(list(shards.values()))
    positions[:, 0] = np.repeat(np.arange(len(shards)), list(counts.values()))
    entries = [
        {"name": name, "bytes": (folder / name).stat().st_size, "num_samples": count} for name, count in counts.items()
    ]
    return Index({"format": FORMAT, **info, "num_samples": len(positions), "shards": entries}, positions)


def _is_carried(known: dict[str, Any]) -> bool:
    """Whether what index.json says of the features of a teacher can be."""
    return all(type(known[key]) is int and known[key] > 0 for key in ("count", "dim")) and (
        np.isfinite(np.array(known["mean"], dtype=float)).all() and len(known["mean"]) == known["dim"]
    )
