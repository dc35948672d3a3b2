"""Untrusted archives: zip files, and compressed streams such as those in a package."""

import bz2
import io
import lzma
import zipfile
import zlib
from pathlib import Path
from typing import IO, Protocol

from pointrecon.utils.files.checks.limits import LimitError, check_growth

MAX_HEADER = 2 << 20  # bytes that are read at once; a reader of tar files takes what a header claims
_PIECE = 1 << 18
_XZ_MEMORY = 256 << 20  # bytes; xz -9 needs 65 MB
_PLAIN = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # Python unpacks other kinds without a limit


def check_member(info: zipfile.ZipInfo, archive_size: int) -> None:
    """Looks at a member of a zip archive before it is read.

    Args:
        info: The member.
        archive_size: Of the whole archive, in bytes.

    Raises:
        LimitError: It is compressed in another way than usual, or becomes larger than it may.
    """
    if info.compress_type not in _PLAIN:
        raise LimitError(f"'{info.filename[:200]}' in it is compressed in way {info.compress_type}; use deflate")
    check_growth(info.file_size, min(info.compress_size, archive_size))


def open_zip(path: Path) -> zipfile.ZipFile:
    """Opens a zip archive that is read as a whole.

    Raises:
        LimitError: Its members become larger than they may.
        OSError, zipfile.BadZipFile, NotImplementedError: It cannot be read.
    """
    size = path.stat().st_size
    archive = zipfile.ZipFile(path)
    try:
        for info in archive.infolist():
            check_member(info, size)
        check_growth(sum(info.file_size for info in archive.infolist()), size)
    except LimitError:
        archive.close()
        raise
    return archive


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class UnpackedStream(io.RawIOBase):
    """What a stream unpacks to, read forwards in pieces; gzip, xz, bzip2 or nothing, told by its first bytes.

    Args:
        file: Where the stream begins.
        size: Bytes of the stream, at most.
        growth: Times that size that it may unpack to; see `allowed_bytes`.

    Raises:
        LimitError: While reading: it becomes larger than it may, or more than MAX_HEADER is asked for at once.
        EOFError, OSError, lzma.LZMAError, zlib.error: While reading: it is damaged.
    """

    def __init__(self, file: IO[bytes], size: int, growth: int) -> None:
        start = file.read(min(6, size))
        self._file, self._left = file, size - len(start)
        self._start_bytes, self._unpacked, self._place, self._size = start, b"", 0, size
        self._used = 0  # bytes of `_unpacked` that were read
        self._growth = growth
        self._unpacker = _unpacker_of(start)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True: forwards."""
        return True

    def tell(self) -> int:
        """Bytes read so far."""
        return self._place

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer at the end."""
        if not 0 <= size <= MAX_HEADER:
            raise LimitError(f"{size:,} bytes of it are asked for at once")
        while len(self._unpacked) - self._used < size and (piece := self._next()):
            self._unpacked, self._used = self._unpacked[self._used :] + piece, 0
        found = self._unpacked[self._used : self._used + size]
        self._used += len(found)
        self._place += len(found)
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes forwards to a place, or to the end."""
        if whence != io.SEEK_SET or offset < self._place:
            raise ValueError("a stream is read forwards only")
        while self._place < offset and self.read(min(_PIECE, offset - self._place)):
            pass
        return self._place

    def _next(self) -> bytes:
        """A piece of what it unpacks to; nothing at the end."""
        if self._unpacker is None:
            return self._take()
        while not self._unpacker.eof:  # what follows, such as zeros up to a block, is of no use
            packed = self._take() if self._unpacker.needs_input else b""
            if not packed and self._unpacker.needs_input:
                raise EOFError("it is cut off")
            piece = self._unpacker.decompress(packed, _PIECE)
            if piece:
                check_growth(self._place + len(self._unpacked) - self._used + len(piece), self._size, self._growth)
                return piece
        return b""

    def _take(self) -> bytes:
        """The next bytes as they are stored."""
        found, self._start_bytes = self._start_bytes, b""
        if not found:
            found = self._file.read(min(_PIECE, self._left))
            self._left -= len(found)
        return found


class _Gzip:
    """zlib's decompressor with the interface of the others: it keeps what it has not unpacked yet."""

    def __init__(self) -> None:
        self._unpacker, self._rest = zlib.decompressobj(wbits=31), b""

    @property
    def eof(self) -> bool:
        return self._unpacker.eof

    @property
    def needs_input(self) -> bool:
        return not self._rest

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        piece = self._unpacker.decompress(self._rest + data, max_length)
        self._rest = self._unpacker.unconsumed_tail
        return piece


def _unpacker_of(start: bytes) -> _Unpacker | None:
    if start.startswith(b"\x1f\x8b"):
        return _Gzip()
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    return bz2.BZ2Decompressor() if start.startswith(b"BZh") else None
