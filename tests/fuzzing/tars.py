"""Ways to spoil a tar archive, so that it stays one: its members and what their headers say."""

import io
import random
import tarfile
from collections.abc import Callable

KINDS = (b"0", b"\0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"g", b"x", b"L", b"K", b"S", b"V", b"Z")
NAMES = (
    "",
    ".",
    "..",
    "../x",
    "/etc/x",
    "a/../../b",
    "a\\b",
    "x" * 99,
    "\xff",
    "a" * 50 + "/" + "b" * 150,
    "c:x",
    "./x",
)
SIZES = (0, 1, 511, 512, 513, 1 << 20, 1 << 30, (1 << 33) - 1, 1 << 40, (1 << 62))
PAX = (
    *(b"12 path=../x\n", b"11 size=-1\n", b"16 size=99999999\n", b"13 linkpath=/\n", b"9 mtime=\n", b"999999999 a=b\n"),
    *(b"27 GNU.sparse.major=1\n", b"x", b"", b"13 path=a/b\n\n", b"30 GNU.sparse.map=0,1,2,3,4,5\n", b"9 size=\xff\n"),
)
_BLOCK = 512


def spoil_tar(data: bytes, rng: random.Random, spoil_member: Callable[[str, bytes, random.Random], bytes]) -> bytes:
    """Changes one thing in a plain tar archive.

    Args:
        data: The archive.
        rng: Draws the change.
        spoil_member: Called with a member's name and content when the change is to be in there.
    """
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = [(info, b"" if (file := tar.extractfile(info)) is None else file.read()) for info in tar]
    place = rng.randrange(len(members))
    info, content = members[place]
    kind = rng.choice(("content",) * 8 + ("header",) * 4 + ("drop", "twice", "swap", "extended", "no end", "name"))
    if kind == "content":
        content = spoil_member(info.name, content, rng)
        info.size = len(content)
        members[place] = info, content
    elif kind == "drop":
        del members[place]
    elif kind == "twice":
        members.insert(rng.randrange(len(members) + 1), members[place])
    elif kind == "swap":
        other = rng.randrange(len(members))
        members[place], members[other] = members[other], members[place]
    elif kind == "name":
        info.name = rng.choice((*NAMES, members[0][0].name, f"{info.name}x", info.name.replace(".", ".a.", 1)))
    blocks = [_block(info) + content + bytes(-len(content) % _BLOCK) for info, content in members]
    if kind == "header":
        header = bytearray(blocks[place][:_BLOCK])
        _spoil_header(header, rng)
        blocks[place] = bytes(header) + blocks[place][_BLOCK:]
    elif kind == "extended":
        blocks.insert(place, _extended(rng))
    return b"".join(blocks) + (b"" if kind == "no end" else bytes(2 * _BLOCK))


def _block(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(_format_of(info), "utf-8", "surrogateescape")


def _format_of(info: tarfile.TarInfo) -> int:
    """The format that can say what a header says."""
    return tarfile.USTAR_FORMAT if len(info.name) < 99 and info.size < 1 << 33 else tarfile.GNU_FORMAT


def _spoil_header(header: bytearray, rng: random.Random) -> None:
    field = rng.choice(("size", "size", "name", "kind", "kind", "prefix", "mode", "magic", "sum"))
    if field == "size":
        size = rng.choice(SIZES)
        header[124:136] = f"{size:011o}\0".encode() if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
        if rng.random() < 0.2:
            header[124:136] = rng.choice((b"\xff" * 12, b"-1".ljust(12), b"zzz".ljust(12), bytes(12)))
    elif field == "name":
        header[:100] = rng.choice(NAMES).encode()[:100].ljust(100, b"\0")
    elif field == "kind":
        header[156:157] = rng.choice(KINDS)
    elif field == "prefix":
        header[345:500] = rng.choice(NAMES).encode()[:155].ljust(155, b"\0")
    elif field == "mode":
        header[100:108] = rng.choice((b"\xff" * 8, b"8888888\0", bytes(8)))
    elif field == "magic":
        header[257:265] = rng.choice((b"ustar  \0", b"ustar\x0000", bytes(8)))
    if field != "sum":
        total = sum(header[:148]) + 8 * 32 + sum(header[156:])
        header[148:156] = f"{total:06o}\0 ".encode()
    else:
        header[148:156] = b"0000000\0"


def _extended(rng: random.Random) -> bytes:
    """A member with further attributes, or a long name, of what follows."""
    content = rng.choice(PAX) if rng.random() < 0.7 else b"a" * rng.choice((10, 150, 5000, 100_000))
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = rng.choice((b"x", b"g", b"L", b"K")), len(content)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % _BLOCK)
