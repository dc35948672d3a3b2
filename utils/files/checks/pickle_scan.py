"""Looks through a pickle without loading it, for what would take the memory or the time of whoever loads it.

A loader that refuses every class can still be stalled: by a length or a memo index that makes it allocate gigabytes, or
by tuples of tuples that are shared so often that hashing the outermost one takes years. This follows the opcodes with a
stack of its own, on which objects are no more than a weight and, if they are short, a literal.
"""

import pickletools
from dataclasses import dataclass, field
from typing import Any

MAX_KEY_WEIGHT = 1000  # tuples, counted out, in a key or a member of a set: these are hashed
MAX_TUPLE_WEIGHT = 100_000  # tuples, counted out, in a tuple
_MAX_LITERAL = 200  # bytes
_MAX_LINE = 1 << 20  # bytes of a number or a name that ends with its line
_LENGTH_BYTES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "GLOBAL", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING"}
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"GET", "BINGET", "LONG_BINGET"}
_MARK = None  # on the stack


class PickleError(ValueError):
    """The pickle is damaged, or made to do harm."""


@dataclass
class Scan:
    """What was seen.

    Attributes:
        end: Offset of the byte after the pickle.
        persistent_ids: What the pickle refers to outside itself; None where that is no tuple of short literals.
        names: Classes and functions that it asks for by opcode GLOBAL, as 'module name'.
        opcodes: Names of all opcodes in it.
    """

    end: int = 0
    persistent_ids: list[Any] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    opcodes: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Opcode:
    name: str
    has_argument: bool
    size: int  # of the argument in bytes, or one of pickletools' negative codes
    num_lines: int
    pops: int  # objects below the mark, or all if there is no mark
    has_mark: bool  # pops down to a mark first
    pushes: int


def _describe(opcode: pickletools.OpcodeInfo) -> _Opcode:
    before, argument = opcode.stack_before, opcode.arg
    has_mark = pickletools.markobject in before
    return _Opcode(
        name=opcode.name,
        has_argument=argument is not None,
        size=argument.n if argument else 0,
        num_lines=2 if argument is pickletools.stringnl_noescape_pair else 1,
        pops=before.index(pickletools.markobject) if has_mark else len(before),
        has_mark=has_mark,
        pushes=len(opcode.stack_after),
    )


_OPCODES = {ord(opcode.code): _describe(opcode) for opcode in pickletools.opcodes}


def scan_pickle(data: bytes | memoryview, start: int = 0) -> Scan:
    """Follows a pickle to its end.

    Args:
        data: What it is in; a map of a file will do.
        start: Where it begins.

    Raises:
        PickleError: It is truncated, is no pickle, or is made to do harm.
    """
    scanner = _Scanner(data, start)
    try:
        while scanner.step():
            pass
    except (IndexError, KeyError, ValueError, UnicodeDecodeError) as error:
        if isinstance(error, PickleError):
            raise
        raise PickleError(f"it makes no sense at byte {scanner.position:,}") from error
    return scanner.seen


class _Scanner:
    def __init__(self, data: bytes | memoryview, start: int) -> None:
        self.data, self.position = data, start
        self.seen = Scan()
        self.stack: list[tuple[int, Any] | None] = []  # (weight, literal), or _MARK
        self.memo: dict[int, tuple[int, Any]] = {}
        self.num_steps = 0

    def step(self) -> bool:
        """Follows one opcode; says whether there are more."""
        if self.position >= len(self.data):
            raise PickleError(f"it ends at byte {self.position:,}, in the middle")
        code = self.data[self.position]
        self.position += 1
        self.num_steps += 1
        opcode = _OPCODES.get(code)
        if opcode is None:
            raise PickleError(f"it has no known opcode at byte {self.position - 1:,}")
        self.seen.opcodes.add(opcode.name)
        argument = self._argument(opcode) if opcode.has_argument else None
        if opcode.name in _PUTS:
            self._put(len(self.memo) if opcode.name == "MEMOIZE" else argument)
        elif opcode.name in _GETS:
            self.stack.append(self.memo[argument])
        elif opcode.name == "MARK":
            self.stack.append(_MARK)
        elif opcode.name == "DUP":
            self.stack.append(self.stack[-1])
        elif opcode.name == "POP":
            self.stack.pop()
        else:
            self._apply(opcode, argument)
        self.seen.end = self.position
        return opcode.name != "STOP"

    def _put(self, index: int) -> None:
        # The loader makes room for all indices up to this one.
        if not 0 <= index <= 2 * self.num_steps + 256:
            raise PickleError(f"it numbers an object {index:,} at byte {self.position:,}, which takes too much memory")
        if self.stack[-1] is _MARK:
            raise PickleError(f"it makes no sense at byte {self.position:,}")
        self.memo[index] = self.stack[-1]

    def _apply(self, opcode: _Opcode, argument: Any) -> None:
        taken = self._take_to_mark() if opcode.has_mark else []
        below = [self.stack.pop() for _ in range(opcode.pops)][::-1]
        if any(item is _MARK for item in below):
            raise PickleError(f"it makes no sense at byte {self.position:,}")
        if opcode.name == "SETITEM":
            _check_keys(below[1:2])
        elif opcode.name in ("SETITEMS", "DICT"):
            _check_keys(taken[::2])
        elif opcode.name in ("ADDITEMS", "FROZENSET"):
            _check_keys(taken)
        elif opcode.name in ("BINPERSID", "PERSID"):
            self.seen.persistent_ids.append(below[0][1] if below else None)
        elif opcode.name == "GLOBAL":
            self.seen.names.add(argument)
        if opcode.name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            self.stack.append(_tuple_of(taken or below))
        else:
            self.stack += [(1, argument)] * opcode.pushes

    def _take_to_mark(self) -> list[tuple[int, Any]]:
        taken = []
        while (item := self.stack.pop()) is not _MARK:
            taken.append(item)
        return taken[::-1]

    def _argument(self, opcode: _Opcode) -> Any:
        """Steps over the argument; returns it if it is a number or a short text that is needed."""
        if opcode.size == pickletools.UP_TO_NEWLINE:
            lines = [self._line() for _ in range(opcode.num_lines)]
            if opcode.name in _PUTS | _GETS:
                return int(lines[0])
            return " ".join(lines) if opcode.name in _LITERALS else None
        size, is_text = opcode.size, opcode.size < 0
        if is_text:
            size = int.from_bytes(self._take(_LENGTH_BYTES[opcode.size]), "little")
        if size > len(self.data) - self.position:
            raise PickleError(f"it has {size:,} bytes at byte {self.position:,}, more than the file")
        if size > _MAX_LITERAL or opcode.name not in _LITERALS | _PUTS | _GETS:
            self.position += size
            return None
        value = self._take(size)
        if "UNICODE" in opcode.name or "STRING" in opcode.name:
            return value.decode("utf-8", "replace")
        return int.from_bytes(value, "little", signed=opcode.name in ("BININT", "LONG1"))

    def _line(self) -> str:
        piece = bytes(self.data[self.position : self.position + 1024])
        end = piece.find(b"\n")
        if end < 0:
            piece = bytes(self.data[self.position : self.position + _MAX_LINE])
            end = piece.find(b"\n")
        if end < 0:
            raise PickleError(f"it has a line without end at byte {self.position:,}")
        self.position += end + 1
        return piece[:end].decode("utf-8", "replace")

    def _take(self, size: int) -> bytes:
        value = bytes(self.data[self.position : self.position + size])
        self.position += size
        return value


def _check_keys(items: list[tuple[int, Any]]) -> None:
    if any(weight > MAX_KEY_WEIGHT for weight, _ in items):
        raise PickleError("it has a key of tuples in tuples, which takes too long to look up")


def _tuple_of(items: list[tuple[int, Any]]) -> tuple[int, Any]:
    weight = 1 + sum(weight for weight, _ in items)
    if weight > MAX_TUPLE_WEIGHT:
        raise PickleError("it has tuples in tuples that take too long to go through")
    return weight, tuple(value for _, value in items) if len(items) <= 8 else None
