"""The opcodes of a pickle, one after the other, with their arguments held against the size of the file."""

import mmap
import pickletools
from dataclasses import dataclass
from typing import Any

from pointrecon.utils.files.checks.pickle_items import PickleError

_MAX_LITERAL = 200  # bytes
_MAX_LINE = {"number": 5000, "name": 1000}  # bytes of what ends with its line
_LENGTH_BYTES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_KINDS = {
    "text": ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    "bytes": ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    "number": ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
    + ("NEWTRUE", "NEWFALSE"),
    "none": ("NONE",),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}
_WHOLE_NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1", "FRAME", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"}


# An opcode as it stands in a pickle: its name as in pickletools; the kind of the plain value that it pushes (`text`,
# `bytes`, `number` or `none`), or None where it does something else; a whole number, a name as 'module name' or a short
# text, or None for anything else; bytes of the value. A plain tuple, because one is made for each opcode.
Opcode = tuple[str, str | None, Any, int]


@dataclass(frozen=True)
class _Description:
    name: str
    kind: str | None
    has_argument: bool
    size: int  # of the argument in bytes, or one of pickletools' negative codes
    num_lines: int


def _describe(opcode: pickletools.OpcodeInfo) -> _Description:
    argument = opcode.arg
    return _Description(
        name=opcode.name,
        kind=_KIND_OF.get(opcode.name),
        has_argument=argument is not None,
        size=argument.n if argument else 0,
        num_lines=2 if argument is pickletools.stringnl_noescape_pair else 1,
    )


_OPCODES = {ord(opcode.code): _describe(opcode) for opcode in pickletools.opcodes}
# What a byte stands for as a whole, and the opcodes whose argument is one small number: most of every pickle.
_BARE: dict[int, Opcode] = {
    code: (item.name, item.kind, None, 8) for code, item in _OPCODES.items() if not item.has_argument
}
_SMALL = {code: item for code, item in _OPCODES.items() if item.size == 1 and item.name in _WHOLE_NUMBERS}


class OpcodeReader:
    """Reads opcodes.

    Args:
        data: What the pickle is in.
        start: Where it begins.

    Attributes:
        position: Offset of the next byte.
    """

    def __init__(self, data: bytes | mmap.mmap, start: int) -> None:
        self.data, self.position, self._size = data, start, len(data)

    def read(self) -> Opcode:
        """The next opcode.

        Raises:
            PickleError: The file ends, or there is none of this number.
            ValueError: A number is none.
        """
        data, position = self.data, self.position
        if position >= self._size:
            raise PickleError(f"it ends at byte {position:,}, in the middle")
        code = data[position]
        self.position = position + 1
        if (bare := _BARE.get(code)) is not None:
            return bare
        if (small := _SMALL.get(code)) is not None and position + 1 < self._size:
            self.position = position + 2
            return small.name, small.kind, data[position + 1], 9
        opcode = _OPCODES.get(code)
        if opcode is None:
            raise PickleError(f"it has no known opcode at byte {position:,}")
        if opcode.size == pickletools.UP_TO_NEWLINE:
            return opcode.name, opcode.kind, *self._lines(opcode)
        return opcode.name, opcode.kind, *self._argument(opcode)

    def check_rest(self, size: int) -> None:
        """Raises PickleError if fewer bytes are left."""
        if size > len(self.data) - self.position:
            raise PickleError(f"it has {size:,} bytes at byte {self.position:,}, more than the file")

    def _argument(self, opcode: _Description) -> tuple[Any, int]:
        """Steps over the argument; returns it if it is a whole number or a short text, and its size."""
        if opcode.size == pickletools.UP_TO_NEWLINE:
            return self._lines(opcode)
        size = opcode.size
        if size < 0:
            size = int.from_bytes(self._take(_LENGTH_BYTES[size]), "little")
        self.check_rest(size)
        if size > _MAX_LITERAL or (opcode.kind != "text" and opcode.name not in _WHOLE_NUMBERS):
            self.position += size
            return None, size + 8
        value = self._take(size)
        if opcode.kind == "text":
            return value.decode("utf-8", "replace"), size + 8
        return int.from_bytes(value, "little", signed=opcode.name in ("BININT", "LONG1")), size + 8

    def _lines(self, opcode: _Description) -> tuple[Any, int]:
        if opcode.kind == "text":
            size, piece = self._line(len(self.data), _MAX_LITERAL)
            return piece if size <= _MAX_LITERAL else None, size + 8
        limit = _MAX_LINE["name" if opcode.name in ("GLOBAL", "INST") else "number"]
        lines = [self._line(limit, limit)[1] for _ in range(opcode.num_lines)]
        if opcode.name in ("PUT", "GET"):
            return int(lines[0]), 8
        if opcode.name == "INT" and lines[0].strip("-").isdigit():
            return int(lines[0]), 8
        return " ".join(lines), 8

    def _line(self, limit: int, kept: int) -> tuple[int, str]:
        """Size and first characters of a line."""
        start, end = self.position, self.data.find(b"\n", self.position, self.position + limit + 1)
        if end < 0:
            raise PickleError(f"it has a line without end at byte {start:,}")
        self.position = end + 1
        return end - start, bytes(self.data[start : min(end, start + kept)]).decode("utf-8", "replace")

    def _take(self, size: int) -> bytes:
        value = bytes(self.data[self.position : self.position + size])
        self.position += size
        return value
