"""Follows a pickle without loading it, and refuses what would take the memory or the time of whoever loads it.

A loader that refuses every class can still be stalled: by a length or a memo index that makes it allocate gigabytes, by
tuples of tuples that are shared so often that hashing the outermost one takes years, by a function that is called a
million times with the same large text. This follows the opcodes with a stack of its own, on which objects are no more
than what `pickle_items` keeps of them, and holds every call against a policy.
"""

import mmap
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pointrecon.utils.files.checks.limits import allowed_bytes
from pointrecon.utils.files.checks.pickle_items import (
    HELD_BYTES,
    Hashing,
    Item,
    PickleError,
    Policy,
    make_set,
    make_tuple,
    refuse,
)
from pointrecon.utils.files.checks.pickle_opcodes import OpcodeReader

MAX_STEPS = 1_000_000  # opcodes; an object of a data set takes about 25, and none becomes more than 500 bytes
MAX_LEFT = 64  # classes of other programs; torch goes through all of them whenever it meets one
_MEMOIZE, _BINGET = pickle.MEMOIZE[0], pickle.BINGET[0]
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"GET", "BINGET", "LONG_BINGET"}


@dataclass
class Scan:
    """What was seen.

    Attributes:
        end: Offset of the byte after the pickle.
        persistent_ids: What the pickle refers to outside itself; None where that is no tuple of short literals.
        names: Classes and functions that it asks for, as 'module name'.
        filled: Those of them whose objects are filled like a dictionary.
        opcodes: Names of all opcodes in it.
    """

    end: int = 0
    persistent_ids: list[Any] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    filled: set[str] = field(default_factory=set)
    opcodes: set[str] = field(default_factory=set)


def scan_pickle(data: bytes | mmap.mmap, policy: Policy, start: int = 0, max_steps: int = MAX_STEPS) -> Scan:
    """Follows a pickle to its end.

    Args:
        data: What it is in; a map of a file will do.
        policy: What it may ask for.
        start: Where it begins.
        max_steps: Opcodes that it may have.

    Raises:
        RefusedPickleError: It asks for something that the policy does not allow.
        PickleError: It is truncated, is no pickle, or is made to do harm.
    """
    scanner = _Scanner(data, policy, start, max_steps)
    try:
        scanner.run()
    except (IndexError, KeyError, ValueError) as error:
        if isinstance(error, PickleError):
            raise
        raise PickleError(f"it makes no sense at byte {scanner.reader.position:,}") from error
    return scanner.seen


class _Scanner:
    def __init__(self, data: bytes | mmap.mmap, policy: Policy, start: int, max_steps: int) -> None:
        self.reader, self.policy, self.max_steps = OpcodeReader(data, start), policy, max_steps
        self.seen = Scan()
        self.stack: list[Item] = []
        self.marks: list[int] = []  # lengths of the stack
        self.memo: dict[int, Item] = {}
        self.hashing = Hashing()
        self.num_built = self.num_left = 0
        self.allowed = allowed_bytes(len(data) - start)  # bytes that calls may build

    def run(self) -> None:
        """Follows all opcodes up to the last one."""
        reader, stack, memo, marks, opcodes = self.reader, self.stack, self.memo, self.marks, self.seen.opcodes
        read, data, end = reader.read, reader.data, len(reader.data) - 1
        for number in range(1, self.max_steps + 1):
            # Half of all opcodes are one of these two: here they take a third of the time.
            if (code := data[place] if (place := reader.position) < end else None) == _MEMOIZE:
                if stack and (not marks or len(stack) > marks[-1]):
                    memo[len(memo)] = stack[-1]
                    reader.position = place + 1
                    opcodes.add("MEMOIZE")
                    continue
            elif code == _BINGET:
                stack.append(memo[data[place + 1]])
                reader.position = place + 2
                opcodes.add("BINGET")
                continue
            name, kind, argument, size = read()
            if kind is not None:
                stack.append(Item(kind, argument, 1, size))
            elif name in _PUTS:
                self._put(len(memo) if name == "MEMOIZE" else argument, number)
            elif name in _GETS:
                stack.append(self.memo[argument])
            else:
                _HANDLERS[name](self, argument)
            opcodes.add(name)
            if name == "STOP":
                self.seen.end = self.reader.position
                return
        raise PickleError(f"it has more than {self.max_steps:,} steps")

    def pop(self) -> Item:
        """Takes the topmost item, which must lie above the last mark."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise PickleError(f"it makes no sense at byte {self.reader.position:,}")
        return self.stack.pop()

    def top(self, kinds: str) -> Item:
        """The topmost item, which must be of a kind."""
        item = self.pop()
        self.stack.append(item)
        if item.kind != kinds:
            refuse(f"it fills an object of kind '{item.kind}' like a {kinds}")
        return item

    def take_to_mark(self) -> list[Item]:
        """Takes all items above the last mark, and the mark."""
        place = self.marks.pop()
        taken = self.stack[place:]
        del self.stack[place:]
        return taken

    def data(self, items: list[Item]) -> list[Item]:
        """Returns items that become part of the content: no function may be among them."""
        for item in items:
            if item.kind == "name" and not self.policy.is_value(item.value) and not self.policy.is_left(item.value):
                refuse(f"it holds '{item.value[:100].replace(' ', '.')}' as a value")
        return items

    def push(self, item: Item) -> None:
        """Puts an item on the stack."""
        self.stack.append(item)

    def push_name(self, name: str) -> None:
        """A class or a function."""
        self.policy.check_name(name)
        if name not in self.seen.names and self.policy.is_left(name):
            self.num_left += 1
            if self.num_left > MAX_LEFT:
                raise PickleError(f"it asks for objects of more than {MAX_LEFT} classes of other programs")
        self.seen.names.add(name)
        self.stack.append(Item("name", name))

    def call(self, function: Item, arguments: Item) -> None:
        """Puts on the stack what comes of a call."""
        if function.kind != "name" or arguments.kind != "tuple":
            refuse(f"it calls an object of kind '{function.kind}'")
        rule = self.policy.calls.get(function.value)
        if rule is None and not self.policy.is_left(function.value):
            refuse(f"it calls '{function.value[:100].replace(' ', '.')}'")
        if rule is None:
            self.stack.append(Item("object", function.value))
            return
        result = rule(arguments.value)
        members = [item for given in arguments.value if given.kind in ("list", "tuple") for item in given.value]
        if result.kind == "set":
            self.hashing.check(members)
            result = make_set(members)
        elif result.kind == "dict":
            pairs = (item.kind in ("list", "tuple") and item.value for item in members)
            self.hashing.check([pair[0] if pair else item for pair, item in zip(pairs, members, strict=True)])
            result.size += sum([item.copied() for item in arguments.value])
        self._count(arguments.value)
        self.stack.append(result)

    def build(self) -> None:
        """Gives an object its state."""
        state, target = self.pop(), self.pop()
        self.stack.append(target)
        rule = self.policy.builds.get(target.value) if target.kind in ("object", "dict") else None
        if rule is None and not (target.kind == "object" and self.policy.is_left(target.value)):
            refuse(f"it changes the state of an object of kind '{target.kind}'")
        if rule is not None:
            rule(state)
            self._count(state.value if state.kind == "tuple" else (state,))

    def fill(self, items: list[Item]) -> None:
        """Puts keys and values into a dictionary."""
        if len(items) % 2:
            raise PickleError(f"it makes no sense at byte {self.reader.position:,}")
        target = self.pop()
        self.stack.append(target)
        if target.kind == "object" and self.policy.is_left(target.value):
            self.seen.filled.add(target.value)
        elif target.kind != "dict":
            refuse(f"it fills an object of kind '{target.kind}' like a dictionary")
        self.hashing.check(self.data(items)[::2])
        target.size += HELD_BYTES * len(items)

    def refer(self, reference: Item) -> None:
        """Something outside the pickle."""
        if not self.policy.has_storages:
            refuse("it refers to something outside itself")
        found = reference.literal()
        self.seen.persistent_ids.append(found)
        self.stack.append(Item("storage", found[4] if isinstance(found, tuple) and len(found) > 4 else None))

    def _count(self, given: Iterable[Item]) -> None:
        """Counts what a call or a state copies, and what holds the copy."""
        self.num_built += HELD_BYTES + sum([item.copied() for item in given])
        if self.num_built > self.allowed:
            raise PickleError(f"it builds more than {self.allowed:,} bytes")

    def _put(self, index: int, num_steps: int) -> None:
        # The loader makes room for all indices up to this one.
        if not 0 <= index <= 2 * num_steps + 256:
            raise PickleError(f"it numbers an object {index:,} at byte {self.reader.position:,}, which takes memory")
        item = self.pop()
        self.stack.append(item)
        self.memo[index] = item


def _pop(scanner: _Scanner, _: Any) -> None:
    if scanner.marks and len(scanner.stack) == scanner.marks[-1]:
        scanner.marks.pop()
    else:
        scanner.stack.pop()


def _stack_global(scanner: _Scanner, _: Any) -> None:
    name, module = scanner.pop(), scanner.pop()
    if not isinstance(name.value, str) or not isinstance(module.value, str):
        refuse("it asks for a name that is no short text")
    scanner.push_name(f"{module.value} {name.value}")


def _call(scanner: _Scanner, _: Any) -> None:
    arguments = scanner.pop()
    scanner.call(scanner.pop(), arguments)


def _inst(scanner: _Scanner, name: Any) -> None:
    arguments = make_tuple(scanner.data(scanner.take_to_mark()))
    scanner.push_name(name)
    scanner.call(scanner.stack.pop(), arguments)


def _obj(scanner: _Scanner, _: Any) -> None:
    function, *arguments = scanner.take_to_mark()
    scanner.call(function, make_tuple(scanner.data(arguments)))


def _setitem(scanner: _Scanner, _: Any) -> None:
    value, key = scanner.pop(), scanner.pop()
    scanner.fill([key, value])


def _additems(scanner: _Scanner, _: Any) -> None:
    items = scanner.data(scanner.take_to_mark())
    scanner.top("set")
    scanner.hashing.check(items)


def _append(scanner: _Scanner, _: Any) -> None:
    items = scanner.data([scanner.pop()])
    scanner.top("list").value.extend(items)


def _appends(scanner: _Scanner, _: Any) -> None:
    items = scanner.data(scanner.take_to_mark())
    scanner.top("list").value.extend(items)


def _frozenset(scanner: _Scanner, _: Any) -> None:
    items = scanner.data(scanner.take_to_mark())
    scanner.hashing.check(items)
    scanner.push(make_set(items))


def _dict(scanner: _Scanner, _: Any) -> None:
    items = scanner.take_to_mark()
    scanner.push(Item("dict"))
    scanner.fill(items)


def _frame(scanner: _Scanner, size: Any) -> None:
    scanner.reader.check_rest(size)


def _tuple_of(count: int) -> Callable[[_Scanner, Any], None]:
    def handle(scanner: _Scanner, _: Any) -> None:
        stack = scanner.stack
        place = len(stack) - count
        if place < (scanner.marks[-1] if scanner.marks else 0):
            raise PickleError(f"it makes no sense at byte {scanner.reader.position:,}")
        items = scanner.data(stack[place:])
        stack[place:] = [make_tuple(items)]

    return handle


def _refused(scanner: _Scanner, _: Any) -> None:
    refuse("it has an opcode that such files do not need")


_HANDLERS: dict[str, Callable[[_Scanner, Any], None]] = {
    "PROTO": lambda scanner, _: None,
    "FRAME": _frame,
    "STOP": lambda scanner, _: scanner.push(*scanner.data([scanner.pop()])),
    "MARK": lambda scanner, _: scanner.marks.append(len(scanner.stack)),
    "POP": _pop,
    "POP_MARK": lambda scanner, _: scanner.take_to_mark().clear(),
    "DUP": lambda scanner, _: scanner.stack.extend([scanner.pop()] * 2),
    "EMPTY_TUPLE": _tuple_of(0),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": lambda scanner, _: scanner.push(make_tuple(scanner.data(scanner.take_to_mark()))),
    "EMPTY_LIST": lambda scanner, _: scanner.push(Item("list", [])),
    "LIST": lambda scanner, _: scanner.push(Item("list", scanner.data(scanner.take_to_mark()))),
    "APPEND": _append,
    "APPENDS": _appends,
    "EMPTY_DICT": lambda scanner, _: scanner.push(Item("dict")),
    "DICT": _dict,
    "SETITEM": _setitem,
    "SETITEMS": lambda scanner, _: scanner.fill(scanner.take_to_mark()),
    "EMPTY_SET": lambda scanner, _: scanner.push(Item("set")),
    "ADDITEMS": _additems,
    "FROZENSET": _frozenset,
    "GLOBAL": lambda scanner, name: scanner.push_name(name),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "INST": _inst,
    "OBJ": _obj,
    "BUILD": lambda scanner, _: scanner.build(),
    "PERSID": lambda scanner, name: scanner.refer(Item("text", name)),
    "BINPERSID": lambda scanner, _: scanner.refer(scanner.pop()),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4", "NEWOBJ_EX", "NEXT_BUFFER", "READONLY_BUFFER"), _refused),
}
