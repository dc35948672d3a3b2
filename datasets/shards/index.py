"""Tar files with samples in them, as WebDataset lays them out: what is where in each, and the index that remembers it.

A sample is a run of members of one key: KEY.points.npy, KEY.json (id, label, text), KEY.image.npy, KEY.text.npy; what
has another ending is left alone. As in the package webdataset a key ends at the first dot of the name, except where
that would leave no sample: keys with dots are taken as they are meant. Members are never unpacked or unpickled.
Shape legend: n samples.
"""

import functools
import io
import logging
import math
import tokenize
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pointrecon.datasets.checks import check_plain_names
from pointrecon.datasets.packed.places import Places, is_writable
from pointrecon.datasets.shards.tar import REMEDY, Member, list_members
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, read_json, write_json

FORMAT = "shards 1"
INDEX, POSITIONS = "index.json", "index.npy"
OBJECTS = "objects.npy"  # numbers of the objects, by which other data sets know them; not there in older folders
FIELDS = ("points.npy", "json", "image.npy", "text.npy")
MAX_BYTES = (256 << 20, 1 << 20, 64 << 20, 64 << 20)  # of each
# Columns of the positions: number of the shard, where each field starts, how long it is (0: not there), checksum.
OFFSETS, SIZES, CHECKSUM = slice(1, 5), slice(5, 9), 9
NUM_COLUMNS = 10
PLAN = "plan.json"  # what is being written into a folder
_MAX_HEADER = 10_000
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# TokenError: NumPy reads headers that Python 2 wrote word by word.
_BAD_VALUES = (ValueError, SyntaxError, TypeError, tokenize.TokenError)
_NPY_DAMAGE = (*_BAD_VALUES, EOFError, MemoryError, RecursionError, OverflowError)
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")

log = logging.getLogger("recon")


class Index(NamedTuple):
    """What is in a folder of shards."""

    info: dict[str, Any]  # index.json
    positions: np.ndarray  # (n, 10) int64


def read_index(folder: Path, cache_root: str | None = None) -> Index:
    """Reads the index of a folder and looks whether every shard is there and as long as it was.

    A folder without one, as other programs write them, is read through once and gets one, beside the shards or, where
    that cannot be written, where `Places` says.

    Args:
        folder: Of the shards.
        cache_root: See `Places`.

    Raises:
        InputError: There are no shards, one is missing, of another length or not in the index, the index is damaged, or
            the shards are not all written yet.
    """
    places = [folder, *(path.parent for path in Places(folder, INDEX, cache_root).all)]
    home = next((place for place in places if (place / INDEX).is_file()), None)
    return _make_index(folder, cache_root) if home is None else _load_index(folder, home)


def list_shards(folder: Path) -> list[Path]:
    """Returns the shards of a folder by name. Hidden ones are what a process that was killed has left.

    Raises:
        InputError: One is compressed.
    """
    files = sorted(path for path in folder.glob("*") if not path.name.startswith("."))
    closed = [path for path in files if path.name.endswith(_COMPRESSED)]
    if closed:
        raise InputError(
            f"'{closed[0]}' is compressed ({len(closed)} such shards); unpack them, shards are plain tar files"
        )
    return [path for path in files if path.suffix == ".tar"]


def _load_index(folder: Path, home: Path) -> Index:
    """The index that lies in the folder `home`."""
    info = read_json(home / INDEX)
    path = home / POSITIONS
    try:
        names = [shard["name"] for shard in info["shards"]]
        counts = [int(shard["num_samples"]) for shard in info["shards"]]
        sizes = [int(shard["bytes"]) for shard in info["shards"]]
        positions = np.load(path, mmap_mode="r", allow_pickle=False)
        is_whole = info["format"] == FORMAT and positions.dtype == np.int64 and all(count > 0 for count in counts)
        is_whole = is_whole and positions.shape == (sum(counts), NUM_COLUMNS) and len(counts) > 0
        is_whole = is_whole and all(isinstance(name, str) for name in names) and _are_names(info)
        is_whole = is_whole and all(_is_carried(info[kind]) for kind in ("image", "text") if kind in info)
    except (KeyError, OSError, *_NPY_DAMAGE) as error:
        raise InputError(
            f"the index of '{folder}' is damaged ({error!r}); remove '{home / INDEX}', and it is made again"
        ) from error
    if not is_whole:
        raise InputError(
            f"'{home / INDEX}' and {POSITIONS} do not fit each other; remove {INDEX}, and it is made again"
        )
    check_plain_names(names, home / INDEX)
    unknown = sorted({path.name for path in list_shards(folder)} - set(names))
    if unknown:
        raise InputError(
            f"'{folder / unknown[0]}' is not in '{home / INDEX}' ({len(unknown)} such shards); remove the index, and "
            "it is made again, or that shard"
        )
    for name, size in zip(names, sizes, strict=True):
        check_shard(folder / name, size)
    return Index(info, positions)


def read_objects(folder: Path) -> np.ndarray | None:
    """(m,) int64 numbers of the objects in a folder of shards, a sample each where m is n; None: it does not say.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / OBJECTS
    if not path.is_file():
        return None
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if values.dtype != np.int64 or values.ndim != 1:
            raise ValueError(f"it holds {values.dtype} values of shape {values.shape}")
    except (OSError, *_NPY_DAMAGE) as error:
        raise InputError(
            f"'{path}' is damaged ({error}); remove it and make the shards again, which writes it"
        ) from error
    return np.asarray(values)


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
    _write(folder, _assemble(folder, info, shards))


def scan_shard(path: Path) -> np.ndarray:
    """Reads a shard through.

    Returns:
        (n, 10) int64 positions of its samples in their order; the first column is 0.

    Raises:
        InputError: As `list_members`; a member is absurdly large, or a sample has no points.
    """
    members = list_members(path)
    rows: list[np.ndarray] = []
    last = None
    with open(path, "rb") as file:
        for member, place in zip(members, _find_keys(members), strict=True):
            if place is None:
                continue
            key, number = place
            if key != last:
                rows.append(np.zeros(NUM_COLUMNS, dtype=np.int64))
                last = key
            _enter(rows[-1], number, member, path)
            file.seek(member.offset)
            rows[-1][CHECKSUM] ^= checksum(file.read(member.size), number)
    if not rows:
        found = f"it has {len(members)} members such as {members[0].name!r:.200}" if members else "it is empty"
        raise InputError(f"shard '{path}' has no samples: {found}, but points are in KEY.{FIELDS[0]}; {REMEDY}")
    bare = [number for number, row in enumerate(rows) if not row[SIZES][0]]
    if bare:
        raise InputError(
            f"sample {bare[0]} of shard '{path}' has no {FIELDS[0]} beside its other members, which must follow each "
            f"other (tar --sort=name); {REMEDY}"
        )
    return np.stack(rows)


def _find_keys(members: list[Member]) -> list[tuple[str, int] | None]:
    """The key and the field of each member, None for one that belongs to no sample."""
    found = [_split(member, member.base.partition(".")[2]) for member in members]
    plain = {place[0] for place in found if place is not None and place[1] == 0}
    others: dict[int, tuple[str, int]] = {}  # members whose key has dots, or that are left alone
    for row, member in enumerate(members):
        ending = next((field for field in FIELDS if member.base.lower().endswith(f".{field}")), "")
        rest = member.base.partition(".")[2]
        if found[row] is None and ending and member.name[: -len(rest) - 1] not in plain:
            others[row] = (member.name[: -len(ending) - 1], FIELDS.index(ending))
    dotted = {key for key, field in others.values() if field == 0}
    for row, place in others.items():
        found[row] = place if place[0] in dotted else None
    return found


def _split(member: Member, field: str) -> tuple[str, int] | None:
    """Key and number of the field, if it is one."""
    return (member.name[: -len(field) - 1], FIELDS.index(field.lower())) if field.lower() in FIELDS else None


def checksum(data: bytes, field: int) -> int:
    """Of a field; those of a sample's fields are joined by exclusive or, whatever their order in the file."""
    return zlib.crc32(data, field)


def parse_npy(data: bytes, what: str) -> np.ndarray:
    """Reads an array of numbers from the bytes of a .npy file.

    Raises:
        InputError: It holds anything else, or claims another size than it has.
    """
    try:
        width = 2 if data[6:7] == b"\x01" else 4
        length = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
        shape, is_fortran, dtype = _parse_header(data[: min(length, _MAX_HEADER + 12)])
        if dtype.kind not in "iuf" or min(shape, default=0) < 0:
            raise ValueError(f"it holds {dtype} values of shape {shape}")
        if math.prod(shape) * dtype.itemsize != len(data) - length:
            raise ValueError(f"it claims values of shape {shape} and has {len(data) - length:,} bytes")
        values = np.frombuffer(data, dtype, offset=length)
        values = values.reshape(shape[::-1]).T if is_fortran else values.reshape(shape)
        return np.array(values, dtype.newbyteorder("="), order="C")  # torch asks for this machine's order of bytes
    except _NPY_DAMAGE as error:
        raise InputError(f"{what} is no array of numbers ({error}); {REMEDY}") from error


@functools.lru_cache(maxsize=256)
def _parse_header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version not in _READERS:
        raise ValueError(f"its format is version {version[0]}.{version[1]}")
    return _READERS[version](file, max_header_size=_MAX_HEADER)


def _enter(row: np.ndarray, field: int, member: Member, path: Path) -> None:
    if member.size > MAX_BYTES[field] or not member.size:
        raise InputError(
            f"'{member.name:.200}' in shard '{path}' has {member.size:,} bytes, but may have 1 to "
            f"{MAX_BYTES[field]:,}; {REMEDY}"
        )
    if row[SIZES][field]:
        raise InputError(f"'{member.name:.200}' is in shard '{path}' twice; {REMEDY}")
    row[OFFSETS][field], row[SIZES][field] = member.offset, member.size


def _make_index(folder: Path, cache_root: str | None) -> Index:
    paths = list_shards(folder)
    if not paths:
        raise InputError(f"there are no shards in '{folder}'; make them with scripts/prepare_data.py shards")
    log.info("reading %d shards in '%s' through; this happens once", len(paths), folder)
    shards = {path.name: scan_shard(path) for path in paths}
    index, home = _assemble(folder, _read_plan(folder, sum(map(len, shards.values()))), shards), folder
    try:
        if cache_root is not None or not is_writable(folder / INDEX):
            home = Places(folder, INDEX, cache_root).choose(8 * NUM_COLUMNS * len(index.positions)).parent
        _write(home, index)
    except (InputError, OSError) as error:  # nothing is remembered
        log.warning("the index of '%s' is made anew at each start, since it cannot be kept: %s", folder, error)
        return index
    return _load_index(folder, home)


def _read_plan(folder: Path, found: int) -> dict[str, Any]:
    """What scripts/prepare_data.py has noted of the samples it writes into a folder."""
    if not (folder / PLAN).is_file():
        return {}
    plan = read_json(folder / PLAN)
    about = plan.get("about") if isinstance(plan, dict) else None
    if isinstance(about, dict) and plan.get("num_samples") == found:
        return about
    if isinstance(plan, dict) and "num_samples" not in plan:  # of an earlier version
        return {}
    raise InputError(
        f"the shards in '{folder}' are not all there: {found} samples of those that {PLAN} names; run "
        "scripts/prepare_data.py shards again, which goes on where it stopped"
    )


def _write(home: Path, index: Index) -> None:
    with atomic_write(home / POSITIONS) as temporary:
        np.save(temporary, index.positions)
    write_json(index.info, home / INDEX)


def _assemble(folder: Path, info: dict[str, Any], shards: dict[str, np.ndarray]) -> Index:
    counts = {name: len(rows) for name, rows in shards.items()}
    positions = np.concatenate(list(shards.values()))
    positions[:, 0] = np.repeat(np.arange(len(shards)), list(counts.values()))
    entries = [
        {"name": name, "bytes": (folder / name).stat().st_size, "num_samples": count} for name, count in counts.items()
    ]
    return Index({"format": FORMAT, **info, "num_samples": len(positions), "shards": entries}, positions)


def _are_names(info: dict[str, Any]) -> bool:
    """Whether what index.json says of classes and points can be."""
    names = [info.get(key, []) for key in ("class_names", "class_texts")]
    are_texts = all(isinstance(found, list) and all(isinstance(name, str) for name in found) for found in names)
    is_same = "class_texts" not in info or len(names[0]) == len(names[1])
    num_points = info.get("num_points")
    return are_texts and is_same and (num_points is None or (type(num_points) is int and num_points > 0))


def _is_carried(known: dict[str, Any]) -> bool:
    """Whether what index.json says of the features of a teacher can be."""
    return all(type(known[key]) is int and known[key] > 0 for key in ("count", "dim")) and (
        np.isfinite(np.array(known["mean"], dtype=float)).all() and len(known["mean"]) == known["dim"]
    )
