"""What a pickle would build, as its scan sees it: no objects, only their kinds, sizes and short literals.

Shape legend: none; all sizes are bytes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_KEY_WEIGHT = 1000  # items, counted out, in a key or a member of a set: these are hashed
MAX_TUPLE_WEIGHT = 100_000  # items, counted out, in a tuple
MAX_ODD_KEYS = 10_000  # keys other than texts, bytes and short numbers: their hashes can be made to collide
MAX_COMPARED = 300_000_000  # items in such keys, if each key is compared with each: half of it is done, 3 ns an item
_COMPARED_BYTES = 64  # of a long number, which take as long as an item
_SHORT = 1 << 31
_NUMBER_BYTES = 8
_MAX_LITERALS = 8  # items of a tuple
HELD_BYTES = 64  # of a container for each of its items


class PickleError(ValueError):
    """The pickle is damaged, or made to do harm."""


class RefusedPickleError(PickleError):
    """The pickle asks for something that is never built."""


class Item:
    """Something on the stack of a pickle.

    Args:
        kind: `text`, `bytes`, `number`, `none`, `tuple`, `list`, `dict`, `set`, `name`, `object` or `storage`.
        value: A short literal; of tuples and lists their items; of a name and an object the name, as 'module name'.
        weight: Items in it, counted out, itself included; of what has no hash 1.
        size: Bytes that a copy of it takes; of a list without its items, which become more.
    """

    __slots__ = ("kind", "size", "value", "weight")

    def __init__(self, kind: str, value: Any = None, weight: int = 1, size: int = _NUMBER_BYTES) -> None:
        self.kind, self.value, self.weight, self.size = kind, value, weight, size

    def literal(self) -> Any:
        """The value if it is a short literal, or a short tuple with None for what is none; else None."""
        if self.kind == "tuple" and len(self.value) <= _MAX_LITERALS:
            return tuple(item.literal() if item.kind != "tuple" else None for item in self.value)
        return self.value if self.kind in ("text", "number", "name") else None

    def copied(self) -> int:
        """Bytes that a copy of it takes now."""
        return self.size + (HELD_BYTES * len(self.value) if self.kind in ("list", "tuple") else 0)


# What becomes of a call with these arguments; raises RefusedPickleError.
Call = Callable[[tuple[Item, ...]], Item]
# Looks at the state that an object is given; raises RefusedPickleError.
Build = Callable[[Item], None]


@dataclass(frozen=True)
class Policy:
    """What a pickle may ask for.

    Attributes:
        calls: Names that may be called, as 'module name'.
        builds: Names whose results may be given a state.
        is_value: Whether a name may be named without being called.
        is_left: Whether a name stands for something that is not read; whatever is asked of it has no effect.
        has_storages: It may refer to tensors' storages, which lie outside the pickle.
    """

    calls: Mapping[str, Call]
    builds: Mapping[str, Build]
    is_value: Callable[[str], bool]
    is_left: Callable[[str], bool] = lambda name: False
    has_storages: bool = False

    def check_name(self, name: str) -> None:
        """Raises RefusedPickleError for a name that is neither allowed nor left."""
        if name not in self.calls and not self.is_value(name) and not self.is_left(name):
            refuse(f"it asks for '{name[:100].replace(' ', '.')}'")


def refuse(problem: str) -> NoReturn:
    """Raises RefusedPickleError."""
    raise RefusedPickleError(problem)


def make_tuple(items: Iterable[Item]) -> Item:
    """A tuple of items.

    Raises:
        PickleError: Counted out it has too many tuples in it.
    """
    items = tuple(items)
    weight = 1 + sum([item.weight for item in items])
    if weight > MAX_TUPLE_WEIGHT:
        raise PickleError("it has tuples in tuples that take too long to go through")
    return Item("tuple", items, weight, _NUMBER_BYTES + sum([item.size for item in items]))


def make_set(items: Iterable[Item]) -> Item:
    """A set of items; like a tuple, one that cannot change takes the longer to hash and compare the more it holds."""
    items = tuple(items)
    return Item("set", None, 1 + sum([item.weight for item in items]), sum([item.size for item in items]))


class Hashing:
    """Keeps count of what the keys of a pickle cost."""

    def __init__(self) -> None:
        self.total = self.num_odd = 0

    def check(self, keys: Iterable[Item]) -> None:
        """Counts keys of dictionaries and members of sets.

        Raises:
            PickleError: They take too long to look up.
        """
        for key in keys:
            if key.kind in ("text", "bytes", "none") or (
                key.kind == "number" and type(key.value) is int and -_SHORT <= key.value < _SHORT
            ):
                continue
            weight = key.weight + key.size // _COMPARED_BYTES
            self.total += weight
            self.num_odd += 1
            compared = self.num_odd * self.total
            if weight > MAX_KEY_WEIGHT or self.num_odd > MAX_ODD_KEYS or compared > MAX_COMPARED:
                raise PickleError("it has a key of tuples in tuples or too many odd keys, which take long to look up")
