"""Chunks of an HDF5 file: what each unpacks to is counted before the HDF5 library makes room for it.

The library unpacks a compressed chunk to its end, however much comes out; that a chunk has the shape that the file
claims it finds afterwards.
"""

import math
import zlib
from collections.abc import Iterator

import h5py
from h5py import h5z

COMPRESSORS = {h5z.FILTER_DEFLATE, h5z.FILTER_LZF, h5z.FILTER_SZIP}
FILTERS = COMPRESSORS | {h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32, h5z.FILTER_NBIT, h5z.FILTER_SCALEOFFSET}
_SPARE = 64  # bytes that filters add: checksums and their own headers
_REFERENCE = 16  # bytes in the file of a value whose length differs
_LZF_GROWTH = 88  # times at most: 264 bytes of 3
_LZF_HARMLESS = 64 << 20  # bytes
_PIECE = 1 << 20


class ChunkError(ValueError):
    """A chunk unpacks to more than it should."""


def check_chunks(values: h5py.Dataset, file_size: int) -> None:
    """Goes through the chunks of a data set.

    Args:
        values: The data set; those that are not chunked are fine.
        file_size: In bytes.

    Raises:
        ChunkError: Its filters are not known, or a chunk unpacks to more than its shape.
    """
    plan = values.id.get_create_plist()
    filters = [plan.get_filter(index)[:3] for index in range(plan.get_nfilters())]
    codes = [code for code, _, _ in filters]
    if not set(codes) <= FILTERS or len(set(codes)) < len(codes) or len(set(codes) & COMPRESSORS) > 1:
        raise ChunkError(f"it is stored through the filters {codes}, of which one at most may compress")
    if not values.chunks or not filters:
        return
    count, width = math.prod(values.chunks), values.id.get_type().get_size()
    for code, _, numbers in filters:
        is_sized = code in (h5z.FILTER_NBIT, h5z.FILTER_SCALEOFFSET)
        if is_sized and (len(numbers) < 5 or numbers[2] != count or numbers[4] != width):
            raise ChunkError(f"its filter {code} is made for chunks of another size")
    compressor = next((code for code in codes if code in COMPRESSORS), None)
    if compressor is None:
        return
    if set(codes[codes.index(compressor) + 1 :]) - {h5z.FILTER_FLETCHER32}:
        raise ChunkError(f"it is stored through the filters {codes}, of which only a checksum may follow a compressor")
    limit = count * max(width, _REFERENCE) + _SPARE
    for data in _compressed_chunks(values, codes.index(compressor), file_size):
        if _is_longer(compressor, data, limit):
            raise ChunkError(f"a chunk of it unpacks to more than its {count * width:,} bytes")


def _compressed_chunks(values: h5py.Dataset, place: int, file_size: int) -> Iterator[bytes]:
    """The chunks as they are stored, those left out that the filter at a place was not used on."""
    found: list[tuple[tuple[int, ...], int, int]] = []
    values.id.chunk_iter(lambda info: found.append((info.chunk_offset, info.filter_mask, info.size)))
    for offset, mask, size in found:
        if size > file_size:
            raise ChunkError(f"a chunk of it claims {size:,} bytes")
        if not mask >> place & 1:
            yield values.id.read_direct_chunk(offset)[1]


def _is_longer(compressor: int, data: bytes, limit: int) -> bool:
    """Whether data unpacks to more than `limit` bytes; damage is left to the library, which ends there."""
    if compressor == h5z.FILTER_DEFLATE:
        return _is_longer_deflated(data, limit)
    if compressor == h5z.FILTER_LZF:
        return _LZF_GROWTH * len(data) > _LZF_HARMLESS and _is_longer_lzf(data, limit)
    return int.from_bytes(data[:4], "little") > limit  # SZIP says itself how long it becomes


def _is_longer_deflated(data: bytes, limit: int) -> bool:
    unpacker, total = zlib.decompressobj(), 0
    try:
        while data and not unpacker.eof and total <= limit:
            total += len(unpacker.decompress(data, _PIECE))
            data = unpacker.unconsumed_tail
    except zlib.error:
        pass
    return total > limit


def _is_longer_lzf(data: bytes, limit: int) -> bool:
    """LZF is a run of copies: below 32 so many bytes and one follow, above so many are taken from before."""
    place, total, end = 0, 0, len(data)
    while place < end and total <= limit:
        control = data[place]
        if control < 32:
            total += control + 1
            place += control + 2
            continue
        length = control >> 5
        if length == 7 and place + 1 < end:
            length += data[place + 1]
            place += 1
        total += length + 2
        place += 2
    return total > limit
