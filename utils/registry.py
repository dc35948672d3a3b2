"""Names in a config -> classes. A registry imports the module that registers a name when the name is looked up."""

import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pointrecon.utils.errors import InputError, closest, is_null_word, nearest

# What registers an entry: the decorator, with its name or the class's own.
_ENTRY = re.compile(r"""\.register\((?:["'](\w+)["'])?\)\n(?:@.*\n)*(?:class|def) (\w+)""")


class Registry:
    """The classes or functions of one kind, by name.

    Args:
        kind: What the entries are, in error messages: "data set".
        package: Dotted name of the package whose modules register the entries.
        rooms: Sub-packages of it whose modules do so too.
    """

    def __init__(self, kind: str, package: str, rooms: Sequence[str] = ()) -> None:
        self.kind = kind
        self.packages = (package, *(f"{package}.{room}" for room in rooms))
        self._entries: dict[str, Callable] = {}
        self._broken: dict[str, Exception] = {}
        self._is_loaded = False

    def register(self, name: str | None = None) -> Callable[[Callable], Callable]:
        """Returns a decorator that enters a class or function under `name`, or under its own name."""
        assert name is None or isinstance(name, str), "write @REGISTRY.register() with brackets"

        def enter(entry: Callable) -> Callable:
            key = name or entry.__name__
            old = self._entries.get(key)
            # A module that is loaded twice (importlib.reload) may enter itself again; two things of one name may not.
            assert old is None or (old.__module__, old.__qualname__) == (entry.__module__, entry.__qualname__), (
                f"{self.kind} '{key}' is registered by {old.__module__} and by {entry.__module__}"
            )
            self._entries[key] = entry
            return entry

        return enter

    def names(self) -> list[str]:
        """Returns all names, sorted: as the sources say, or as they were registered once all modules are imported."""
        if self._is_loaded:
            return sorted(self._entries)
        return sorted({*self._entries, *(name for names in self._names_by_module.values() for name in names)})

    def broken(self) -> dict[str, Exception]:
        """Returns the modules that fail to import, each with its error; their entries are missing from `names`."""
        self._load()
        return dict(self._broken)

    def get(self, name: str) -> Callable:
        """Returns the entry called `name`.

        Args:
            name: A registered name, or `my_package.my_module:MyClass` for one from outside, which need not register.

        Raises:
            InputError: There is none; the message has the nearest name and all names.
        """
        if ":" in str(name):
            return self._import_entry(str(name))
        if name not in self._entries and not self._is_loaded:
            for module, names in self._names_by_module.items():
                if name in names:
                    self._import(module)
        if name in self._entries:
            return self._entries[name]
        self._load()
        if name in self._entries:
            return self._entries[name]
        for module, error in self._broken.items():
            if str(name).lower() in _source_of(module).lower():
                raise InputError(f"{self.kind} '{name}' is in '{module}', which fails to import: {error!r}") from error
        match = closest(str(name), self._entries)
        hint = f"did you mean '{match}'? " if match else ""
        raise InputError(f"unknown {self.kind} '{name}'; {hint}there are: {', '.join(self.names()) or 'none'}")

    def build(self, options: Mapping[str, Any], **extras: Any) -> Any:
        """Calls the entry that `options["type"]` names with the other options as keyword arguments.

        Args:
            options: A config section with a `type`.
            extras: Keyword arguments from the program; they win over an option of the same name.

        Raises:
            InputError: No or an unknown `type`, an option that the entry does not take, one that it needs and lacks, or
                None as a text.
        """
        if not isinstance(options, Mapping) or not options.get("type"):
            raise InputError(f"a {self.kind} needs a 'type'; there are: {', '.join(self.names()) or 'none'}")
        name = options["type"]
        entry = self.get(name)
        arguments = {key: value for key, value in options.items() if key != "type"} | extras
        self._check_arguments(name, entry, arguments)
        return entry(**arguments)

    def _check_arguments(self, name: str, entry: Callable, arguments: Mapping[str, Any]) -> None:
        signature = inspect.signature(entry)
        parameters = signature.parameters.values()
        takes_any = any(item.kind is item.VAR_KEYWORD for item in parameters)
        named = [item for item in parameters if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
        valid = [item.name for item in named]
        for key in arguments:
            if key not in valid and not takes_any:
                raise InputError(
                    f"{self.kind} '{name}' takes no option '{key}'; {nearest(key, valid)} "
                    f"Its signature: {name}{signature}"
                )
        for item in named:
            if item.default is None and is_null_word(arguments.get(item.name)):
                raise InputError(f"{self.kind} '{name}' has {item.name}='{arguments[item.name]}'; did you mean null?")
        missing = [item.name for item in named if item.default is item.empty and item.name not in arguments]
        if missing:
            listed = ", ".join(f"'{key}'" for key in missing)
            raise InputError(f"{self.kind} '{name}' needs {listed} as well; its signature: {name}{signature}")

    def _load(self) -> None:
        if self._is_loaded:
            return
        for module in self._modules():
            self._import(module)
        self._is_loaded = True

    @cached_property
    def _names_by_module(self) -> dict[str, set[str]]:
        """Module -> the names that its source registers; read once, since tables of runs ask for every run."""
        return {module: _entries_of(module) for module in self._modules()}

    def _modules(self) -> list[str]:
        found = []
        for name in self.packages:
            package = importlib.import_module(name)
            found += [f"{name}.{item.name}" for item in pkgutil.iter_modules(package.__path__) if not item.ispkg]
        return found

    def _import(self, module: str) -> None:
        """One broken module must not take the others with it; whoever asks for what is in it is told."""
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001  (whatever a module may raise)
            self._broken[module] = error

    def _import_entry(self, name: str) -> Callable:
        module, _, attribute = name.partition(":")
        try:
            entry = getattr(importlib.import_module(module), attribute)
        except (ImportError, ValueError, AttributeError) as error:
            raise InputError(
                f"{self.kind} '{name}' cannot be imported ({error}); write package.module:Name, with the package's "
                "folder on PYTHONPATH"
            ) from error
        if not callable(entry):
            raise InputError(f"{self.kind} '{name}' is {type(entry).__name__}, but must be a class or function")
        return entry


def _entries_of(module: str) -> set[str]:
    return {name or own for name, own in _ENTRY.findall(_source_of(module))}


def _source_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).read_text(encoding="utf-8") if spec is not None and spec.origin else ""
