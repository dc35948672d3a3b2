"""What `python main.py --list KIND` writes: the names that a config may use in one place, and their options."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

from pointrecon.utils.registry import Registry

MAX_NAME = 16
PROGRAM = frozenset({"root", "split", "cfg", "ctx", "name", "store", "images", "on_error"})


@dataclass(frozen=True)
class Kind:
    """One kind of names.

    Attributes:
        registry: `module:NAME` of its registry.
        key: Where a config has the name.
        options: Where a config has the options; None: the program gives them all.
    """

    registry: str
    key: str
    options: str | None = None


KINDS = {
    "datasets": Kind("pointrecon.datasets:DATASETS", "data.type", "data.options"),
    "teachers": Kind("pointrecon.models.teachers:TEACHERS", "teachers.<name>.type", "teachers.<name>.options"),
    "evaluators": Kind("pointrecon.tools.evaluators:EVALUATORS", "evaluators.<name>.type", "evaluators.<name>"),
    "tasks": Kind("pointrecon.tools.tasks:TASKS", "task"),
    "models": Kind("pointrecon.models:MODELS", "model.type"),
    "blocks": Kind("pointrecon.models.blocks:BLOCKS", "model.block"),
}


def describe(name: str) -> str:
    """Lists the names of one kind, each with a sentence and its options.

    Args:
        name: One of KINDS.

    Returns:
        Lines, without a line end after the last one.
    """
    kind = KINDS[name]
    registry = _registry_of(kind)
    where = f", options in {kind.options}" if kind.options else ""
    lines = [f"{name}: {kind.key}{where}; one of your own: my_package.my_module:MyClass"]
    broken = registry.broken()  # imports all; the names are then those that can be used
    for key in registry.names():
        entry = registry.get(key)
        lines.append(f"  {key:<{MAX_NAME}}  {_sentence_of(entry)}".rstrip())
        options = _options_of(entry) if kind.options else []
        lines += [f"  {'':<{MAX_NAME}}  {', '.join(options)}"] if options else []
    lines += [f"  cannot be imported: {module} ({error!r:.200})" for module, error in broken.items()]
    return "\n".join(lines)


def _registry_of(kind: Kind) -> Registry:
    module, _, name = kind.registry.partition(":")
    registry = getattr(importlib.import_module(module), name)
    assert isinstance(registry, Registry)
    return registry


def _sentence_of(entry: Callable) -> str:
    paragraph = (inspect.getdoc(entry) or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def _options_of(entry: Callable) -> list[str]:
    """The keyword arguments that a config may give, as `name: type = default`."""
    parameters = inspect.signature(entry).parameters.values()
    named = [item for item in parameters if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
    return [str(item) for item in named if item.name not in PROGRAM]
