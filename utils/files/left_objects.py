"""Objects of other programs in a file of torch, such as the arguments of a command line: named, and not built.

torch builds a stand-in for each of them, which takes whatever it is given and does nothing with it. Afterwards whatever
holds one is taken out of the content.
"""

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from torch.serialization import StorageType

from pointrecon.utils.files.checks.pickle_policies import TORCH
from pointrecon.utils.files.checks.pickle_scan import Scan
from pointrecon.utils.files.checks.torch_archive import TorchFileError

MAX_NAMED = 20  # of what was left out
_MAX_KEY = 60  # characters of a key in a name


class LeftObject:
    """Stands for an object that is not built."""

    type_name = "object"

    def __new__(cls, *_: Any) -> Any:
        """Takes whatever the object would be made of."""
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class LeftObjects:
    """The objects of a file that are not built.

    Args:
        scans: What was seen in the pickles of the file.

    Attributes:
        stand_ins: For `torch.serialization.safe_globals`: pairs of a class and the name that it stands for.
    """

    def __init__(self, scans: Iterable[Scan]) -> None:
        self.stand_ins: list[tuple[type, str]] = []
        self._filled: dict[int, tuple[Any, str]] = {}  # dictionaries that stand for an object, by their identity
        for scan in scans:
            for name in filter(TORCH.is_left, scan.names):
                module, _, kind = name.partition(" ")
                stand_in = self._make(f"{module}.{kind}", is_filled=name in scan.filled)
                # torch looks for Python 2's names under those of Python 3.
                known = NAME_MAPPING.get((module, kind), (IMPORT_MAPPING.get(module, module), kind))
                self.stand_ins += [(stand_in, f"{module}.{kind}"), (stand_in, ".".join(known))]

    def take_out(self, content: Any) -> tuple[str, ...]:
        """Takes what holds such objects out of dictionaries, in place.

        Returns:
            Where they were, with their types.

        Raises:
            TorchFileError: The content itself is such an object.
        """
        found: list[str] = []
        name = self._look(content, "", found, {})
        if name is not None:
            raise TorchFileError(f"it asks for '{name}'")
        more = [f"and {len(found) - MAX_NAMED} more"] if len(found) > MAX_NAMED else []
        return (*found[:MAX_NAMED], *more)

    def _make(self, type_name: str, is_filled: bool) -> type:
        if not is_filled:
            return type("Left", (LeftObject,), {"type_name": type_name})

        def make(*_: Any) -> OrderedDict:
            # torch fills dictionaries of its own types only.
            made: OrderedDict = OrderedDict()
            self._filled[id(made)] = made, type_name
            return made

        return type("LeftMapping", (), {"__new__": make})

    def _look(self, value: Any, place: str, found: list[str], known: dict[int, str | None]) -> str | None:
        """Takes what must go out of the dictionaries in a value; if the value itself must go, returns the reason."""
        if isinstance(value, LeftObject) or (isinstance(value, type) and issubclass(value, LeftObject)):
            return value.type_name
        if isinstance(value, StorageType):  # torch's own, which belong into references to storages
            return f"storage type of {value.dtype}"
        if id(value) in self._filled:
            return self._filled[id(value)][1]
        if not isinstance(value, (dict, list, tuple, set)):
            return None
        if id(value) in known:
            return known[id(value)]
        known[id(value)] = None
        if isinstance(value, dict):
            _drop_attributes(value)
            for key in list(value):
                inner = f"{place}.{_shorten(key)}".lstrip(".")
                name = key.type_name if isinstance(key, LeftObject) else self._look(value[key], inner, found, known)
                if name is not None:
                    found.append(f"{inner} ({name})")
                    del value[key]
        else:
            # All of them are looked at: dictionaries in it lose what they must lose, whatever becomes of the list.
            names = [self._look(item, place, found, known) for item in value]
            known[id(value)] = next((name for name in names if name is not None), None)
        return known[id(value)]


def _drop_attributes(mapping: dict) -> None:
    """Drops what a file has given a dictionary beside its content, such as another `items`.

    torch itself keeps `_metadata` there, the versions of modules, which it asks for when it loads weights.
    """
    for name, value in list(getattr(mapping, "__dict__", {}).items()):
        is_metadata = name == "_metadata" and isinstance(value, dict)
        if not is_metadata or not all(isinstance(item, dict) for item in value.values()):
            del mapping.__dict__[name]


def _shorten(key: Any) -> str:
    return key[:_MAX_KEY] if isinstance(key, str) else type(key).__name__
