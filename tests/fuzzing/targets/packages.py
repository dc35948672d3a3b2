"""What is fuzzed of packages: a .deb in every compression, what it says of itself, and its file of copyrights."""

import bz2
import functools
import gzip
import io
import lzma
import random
import tarfile
from pathlib import Path

from pointrecon.tools.debshapes.sources.copyrights import licence_of
from pointrecon.tools.debshapes.sources.packages import ROOT_FILE, unpack
from tests.fuzzing.forms import Form, WrongResult
from tests.fuzzing.mutations import spoil_bytes, spoil_text
from tests.fuzzing.tars import spoil_tar

COMPRESS = {"gz": gzip.compress, "xz": lambda data: lzma.compress(data, preset=0), "bz2": bz2.compress}
UNPACK = {"gz": gzip.decompress, "xz": lzma.decompress, "bz2": bz2.decompress}
COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2001-2010 Somebody <a@b.c>
License: GPL-2+

Files: share/*.obj
 share/other?.3ds
Copyright: (c) 2004 Somebody else
  and others
License: CC0-1.0
 Text of the licence.
"""
CONTROL = "Package: a\nVersion: 1:2-3\nArchitecture: all\nDescription: shapes\n more\n"
NAME = "a_1%3a2-3_all.deb"


def _tar(members: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _deb(parts: list[tuple[str, bytes]]) -> bytes:
    data = b"!<arch>\n"
    for name, content in parts:
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        data += b"\n" * (len(content) % 2)
    return data


def write_package(folder: Path, kind: str) -> None:
    """A package with a mesh, something else and a file of copyrights."""
    files = [
        *(("./", b""), ("./usr/share/a/", b""), ("./usr/share/a/m.obj", b"v 0 0 0\n"), ("./usr/share/a/m.wav", b"s")),
        *(("./usr/share/doc/a/copyright", COPYRIGHT.encode()), ("./usr/share/a/n.obj", bytes(2000))),
    ]
    parts = [("debian-binary", b"2.0\n")]
    parts.append((f"control.tar.{kind}", COMPRESS[kind](_tar([("./control", CONTROL.encode())]))))
    parts.append((f"data.tar.{kind}", COMPRESS[kind](_tar(files))))
    (folder / NAME).write_bytes(_deb(parts))


def _parts(data: bytes) -> list[tuple[str, bytes]]:
    found, place = [], 8
    while place + 60 <= len(data):
        size = int(data[place + 48 : place + 58])
        found.append((data[place : place + 16].decode().strip(), data[place + 60 : place + 60 + size]))
        place += 60 + size + size % 2
    return found


def spoil_package(path: Path, rng: random.Random) -> None:
    """Changes members of the archives inside, their headers, the archive around them or just bytes."""
    data = path.read_bytes()
    kind = rng.random()
    if kind < 0.2:
        path.write_bytes(spoil_bytes(data, rng))
        return
    parts = _parts(data)
    place = rng.choice((1, 2, 2, 2))
    name, content = parts[place]
    if kind < 0.7:
        unpacked = spoil_tar(UNPACK[name.rpartition(".")[2]](content), rng, _spoil_member)
        parts[place] = name, COMPRESS[name.rpartition(".")[2]](unpacked)
    elif kind < 0.8:
        parts[place] = name, spoil_bytes(content, rng)
    elif kind < 0.9:
        parts[place] = (
            rng.choice(("data.tar", "control.tar", "data.tar.zst", "x", f"{name}/", "data.tar.lzma")),
            content,
        )
    else:
        rng.choice((parts.reverse, lambda: parts.pop(place), lambda: parts.append(parts[place])))()
    path.write_bytes(_deb(parts))


def _spoil_member(name: str, content: bytes, rng: random.Random) -> bytes:
    if name.endswith(("control", "copyright")) and rng.random() < 0.8:
        return spoil_text(content.decode(), rng).encode("utf-8", "surrogatepass")
    return spoil_bytes(content, rng)


def read_package(folder: Path) -> None:
    """Unpacks the package and asks for the licence of a file; nothing lies outside, and nothing half-made is left."""
    out = folder / "out"
    before = {path for path in folder.parent.iterdir()}
    try:
        root = unpack(folder / NAME, out, lambda path: path.endswith(".obj"))
    finally:
        if set(folder.parent.iterdir()) != before or any(path.name.startswith(".") for path in out.glob(".*")):
            raise WrongResult("something is left, or lies outside")
    found = [path for path in root.rglob("*") if not path.is_dir() or path.is_symlink()]
    if any(path.is_symlink() or not path.is_file() for path in found) or not (root / ROOT_FILE).is_file():
        raise WrongResult("a link, or no file, was unpacked")
    texts = licence_of(root, "a", "usr/share/a/m.obj")
    if len(texts) != 2 or not all(isinstance(text, str) for text in texts):
        raise WrongResult("a licence is no text")


FORMS = tuple(Form(kind, functools.partial(write_package, kind=kind), read_package, spoil_package) for kind in COMPRESS)
