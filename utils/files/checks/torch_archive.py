"""Looks at a file that torch.save wrote, before torch reads it: what it names, and whether it is whole.

torch reads tensors and plain containers only, if it is told to. What it does not look at: checksums, so that a flipped
bit becomes a weight; compressed records, which can be larger than the memory; and types that make gigabytes of nothing.
"""

import mmap
import zipfile
import zlib
from pathlib import Path
from typing import Any

from pointrecon.utils.files.checks.pickle_items import PickleError
from pointrecon.utils.files.checks.pickle_policies import STORAGE, TORCH
from pointrecon.utils.files.checks.pickle_scan import Scan, scan_pickle

# How a file of torch before 1.6 begins: a pickle of its magic number.
LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_NUM_LEGACY_PICKLES = 5  # magic number, format, system, content, keys of the storages
_MAX_RECORDS = 1_000_000
_ITEM_BYTES = {"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1}
_ITEM_BYTES |= {"Bool": 1, "Untyped": 1, "ComplexFloat": 8, "ComplexDouble": 16}


class TorchFileError(ValueError):
    """The file is damaged, is none of torch's, or is made to do harm."""


def check_torch_file(path: Path) -> list[Scan]:
    """Refuses what torch should not be given.

    Returns:
        What was seen in its pickles. Names that the policy leaves are objects of other programs.

    Raises:
        TorchFileError: The file is damaged, compressed, of another kind, names what only a program would want, or
            claims more than it holds.
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(len(LEGACY_START))
    try:
        if start.startswith(b"PK"):
            return [_check_zip(path)]
        elif start == LEGACY_START:
            return _check_legacy(path)
        raise TorchFileError("it does not begin like a file of torch")
    except (PickleError, zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
        raise TorchFileError(str(error)) from error


def _check_zip(path: Path) -> Scan:
    with zipfile.ZipFile(path) as archive:
        records = {record.filename: record for record in archive.infolist()}
        pickles = [name for name in records if name.endswith("/data.pkl")]
        total = sum(record.file_size for record in records.values())
        if any(name.endswith("/constants.pkl") for name in records):
            raise TorchFileError("it is a program (TorchScript), not weights")
        is_plain = all(record.compress_type == zipfile.ZIP_STORED for record in records.values())
        if not is_plain or total > path.stat().st_size or len(records) > _MAX_RECORDS:
            raise TorchFileError("it is compressed, or claims more than it holds; torch never writes such a file")
        if len(pickles) != 1 or len(records) != len(archive.infolist()):
            raise TorchFileError("it has not one 'data.pkl', or has records twice")
        broken = archive.testzip()
        if broken is not None:
            raise TorchFileError(f"'{broken}' in it does not match its checksum")
        prefix = pickles[0].removesuffix("data.pkl")
        scan = scan_pickle(archive.read(pickles[0]), TORCH)
    for entry in scan.persistent_ids:
        key, size = _storage_of(entry)
        record = records.get(f"{prefix}data/{key}")
        if record is None or record.file_size != size:
            raise TorchFileError(f"a tensor claims {size:,} bytes, and its record 'data/{key}' has not that many")
    return scan


def _check_legacy(path: Path) -> list[Scan]:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start, claimed, scans = 0, 0, []
        for _ in range(_NUM_LEGACY_PICKLES):
            scan = scan_pickle(data, TORCH, start)
            scans.append(scan)
            storages = {_storage_of(entry) for entry in scan.persistent_ids}
            claimed += sum(size + 8 for _, size in storages)  # each is preceded by its length
            start = scan.end
        if claimed > len(data) - start:
            raise TorchFileError(f"its tensors claim {claimed:,} bytes, and it has {len(data) - start:,}")
    return scans


def _storage_of(entry: Any) -> tuple[str, int]:
    """The key and the number of bytes of a storage, from ('storage', 'torch FloatStorage', key, device, count, ...)."""
    is_entry = isinstance(entry, tuple) and len(entry) > 4 and isinstance(entry[1], str)
    match = STORAGE.match(entry[1]) if is_entry else None
    if match is None or match[1] not in _ITEM_BYTES or not isinstance(entry[2], str) or not isinstance(entry[4], int):
        raise TorchFileError("it has a tensor of a kind that is not known here")
    return entry[2], entry[4] * _ITEM_BYTES[match[1]]
