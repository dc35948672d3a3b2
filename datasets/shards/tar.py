"""The members of a tar file, whoever wrote it: GNU tar, bsdtar, Python; nothing is unpacked.

Whatever a header claims is held against the size of the file before anything is allocated.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pointrecon.utils.errors import InputError

REMEDY = "copy it again, or make it again with scripts/prepare_data.py shards"
_BLOCK = 512  # a tar file is made of these
_MAX_EXTENDED = 64 << 10  # bytes of what is said of a member besides its header, such as a long name
_PIECE = 1 << 20
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
# The package webdataset leaves these out: __index__ and the like at the top, and hidden files.
_META = re.compile(r"__[^/]*__($|/)")


class Member(NamedTuple):
    """A file in a tar file."""

    name: str
    offset: int  # in bytes
    size: int

    @property
    def base(self) -> str:
        """The name without folders."""
        return self.name.rpartition("/")[2]


class _Claims:
    """What extended headers say of the member that follows."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.size: int | None = None


def list_members(path: Path) -> list[Member]:
    """Lists the plain files in a tar file, in their order; folders, hidden files and `__meta__` are left out.

    Raises:
        InputError: The file is no tar file, is compressed or truncated, has a link or another special member, or a name
            that leads out of a folder.
    """
    with open(path, "rb") as file:
        start = file.read(8)
        for magic, name in _COMPRESSED.items():
            if start.startswith(magic):
                raise InputError(f"shard '{path}' is compressed with {name}; unpack it, shards are plain tar files")
        return [
            member
            for member in _walk(path, file)
            if not member.base.startswith(".") and not _META.match(member.name) and "." in member.base
        ]


def _walk(path: Path, file: io.BufferedReader) -> Iterator[Member]:
    total, at, claims = path.stat().st_size, 0, _Claims()
    while True:
        header = _read_header(path, file, at)
        if header is None:
            _check_rest(path, file, at)
            return
        start, name = at + _BLOCK, claims.name or header.name
        size = header.size if claims.size is None else claims.size
        if header.type in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE):
            size = 0
        if not 0 <= size <= total - start:
            raise InputError(
                f"{_quote(name)} in shard '{path}' claims {size:,} bytes, but {total - start:,} are left; {REMEDY}"
            )
        if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE):
            _read_pax(_read_extended(file, start, size, name, path), claims, header.type == tarfile.XGLTYPE, name, path)
        elif header.type == tarfile.GNUTYPE_LONGNAME:
            data = _read_extended(file, start, size, name, path)
            claims.name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif header.type == tarfile.GNUTYPE_LONGLINK:
            _read_extended(file, start, size, name, path)  # where a link points to; the link itself comes next
        else:
            claims = _Claims()
            if header.type != tarfile.DIRTYPE:
                _check(name, header.type, path)
                yield Member(name, start, size)
        at = start + -(-size // _BLOCK) * _BLOCK


def _read_header(path: Path, file: io.BufferedReader, at: int) -> tarfile.TarInfo | None:
    """The header at a place; None: the end of the archive."""
    file.seek(at)
    block = file.read(_BLOCK)
    if len(block) == _BLOCK and not any(block):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise InputError(f"shard '{path}' is truncated or damaged at byte {at:,} ({error}); {REMEDY}") from error


def _check(name: str, kind: bytes, path: Path) -> None:
    if kind == tarfile.GNUTYPE_SPARSE:
        raise InputError(f"{_quote(name)} in shard '{path}' is stored as a sparse file; pack it without --sparse")
    if kind not in _REGULAR:
        raise InputError(
            f"{_quote(name)} in shard '{path}' is a link or no plain file; shards have plain files only (tar "
            "--dereference packs what links point to)"
        )
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
        raise InputError(f"{_quote(name)} in shard '{path}' leads out of its folder; shards have plain names only")


def _read_extended(file: io.BufferedReader, start: int, size: int, name: str, path: Path) -> bytes:
    if size > _MAX_EXTENDED:
        raise InputError(
            f"{_quote(name)} in shard '{path}' says {size:,} bytes of a member, but {_MAX_EXTENDED:,} are allowed; "
            f"{REMEDY}"
        )
    file.seek(start)
    return file.read(size)


def _read_pax(data: bytes, claims: _Claims, is_global: bool, name: str, path: Path) -> None:
    """Enters the records `<length> <key>=<value>` of an extended header."""
    at = 0
    while at < len(data) and data[at : at + 1] != b"\0":
        length = re.match(rb"(\d{1,6}) ", data[at : at + 8])
        record = data[at : at + int(length[1])] if length else b""
        key, sign, value = record[len(length[0]) if length else 0 :].partition(b"=")
        if length is None or len(record) < int(length[1]) or not sign or not record.endswith(b"\n"):
            raise InputError(f"{_quote(name)} in shard '{path}' is no extended header; {REMEDY}")
        at += len(record)
        if key.startswith(b"GNU.sparse"):
            raise InputError(f"{_quote(name)} in shard '{path}' is stored as a sparse file; pack it without --sparse")
        if key in (b"path", b"size") and is_global:
            raise InputError(f"{_quote(name)} in shard '{path}' gives all members one {key.decode()}; {REMEDY}")
        if key == b"path":
            claims.name = value[:-1].decode("utf-8", "surrogateescape")
        elif key == b"size":
            if not re.fullmatch(rb"\d{1,18}\n", value):
                raise InputError(f"{_quote(name)} in shard '{path}' claims a size of {value[:40]!r}; {REMEDY}")
            claims.size = int(value)


def _check_rest(path: Path, file: io.BufferedReader, at: int) -> None:
    """Behind the end of an archive there is nothing: tar files are not joined by `cat`."""
    file.seek(at)
    while piece := file.read(_PIECE):
        if any(piece):
            raise InputError(
                f"shard '{path}' goes on behind its end at byte {at:,}, and what is there would not be read; join tar "
                "files with tar --concatenate, or give each a file of its own"
            )


def _quote(name: str) -> str:
    return repr(name if len(name) <= 200 else f"{name[:197]}...")
