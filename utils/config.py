"""Reads, merges and writes YAML configs. Knows no key of this project: those are in cfgs/_base_.

A file may build on others with `_base_: path` or `_base_: [paths]`, relative to itself. Later ones win, the file last.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from easydict import EasyDict

from utils.errors import InputError, closest
from utils.io import atomic_write
from utils.schema import Schema

SCHEMA_FOLDER = Path(__file__).resolve().parent.parent / "cfgs" / "_base_"


def load_config(path: str | Path, overrides: Iterable[str] = (), schema_folder: str | Path = SCHEMA_FOLDER) -> EasyDict:
    """Returns the defaults, changed by a file with its bases, changed by the overrides.

    Args:
        path: The YAML file.
        overrides: Texts `a.b=value`, the value in YAML; later ones win.
        schema_folder: The folder whose files together hold every key with its default.

    Raises:
        InputError: A missing or broken file, a cycle, an unknown key, or a value of the wrong type.
    """
    schema = _load_schema(Path(schema_folder))
    tree = _load_file(Path(path), schema, ())
    for override in overrides:
        where = f"the override '{override}'"
        tree = merge(tree, schema.check(_parse_override(override), where))
    return EasyDict(schema.fill(tree))


def save_config(cfg: Mapping, path: str | Path) -> None:
    """Writes a config as plain YAML that `load_config` reads back to the same config; keys keep their order."""
    text = yaml.dump(to_plain(cfg), Dumper=_Dumper, sort_keys=False, width=120)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def merge(old: Mapping, new: Mapping) -> dict:
    """Returns `old` with the values of `new`; mappings are merged key by key, everything else is replaced."""
    merged = dict(old)
    for key, value in new.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def to_plain(value: Any) -> Any:
    """Turns EasyDicts into dicts and tuples into lists, all the way down."""
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def flatten(cfg: Mapping, prefix: str = "") -> dict[str, Any]:
    """Returns {dotted key: value}; an empty section stays as {}."""
    flat = {}
    for key, value in cfg.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = to_plain(value)
    return flat


@functools.lru_cache(maxsize=8)
def _load_schema(folder: Path) -> Schema:
    defaults: dict = {}
    for path in sorted(folder.glob("*.yaml")):
        defaults = merge(defaults, _read_yaml(path))
    assert defaults, f"no schema in {folder}"
    # Single keys before sections: a config that is written out starts with what the run does.
    return Schema(dict(sorted(defaults.items(), key=lambda item: isinstance(item[1], dict))))


def _load_file(path: Path, schema: Schema, parents: tuple[Path, ...]) -> dict:
    if path.resolve() in parents:
        chain = " -> ".join(item.name for item in (*parents, path))
        raise InputError(f"config '{path}' is its own base ({chain}); remove one '_base_'")
    content = _read_yaml(path)
    bases = content.pop("_base_", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise InputError(f"'_base_' in {path} must be a path or a list of paths, not {bases!r}")
    tree: dict = {}
    for base in bases:
        base_path = path.parent / base
        if not base_path.is_file():
            raise InputError(f"'_base_' of {path} is '{base}', but there is no file '{base_path}'")
        tree = merge(tree, _load_file(base_path, schema, (*parents, path.resolve())))
    return merge(tree, schema.check(content, str(path)))


def _read_yaml(path: Path) -> dict:
    if not path.is_file():
        raise InputError(f"there is no config file '{path}'{_file_hint(path)}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"config '{path}' is not valid YAML: {_one_line(error)}") from error
    if content is not None and not isinstance(content, dict):
        raise InputError(f"config '{path}' must hold 'key: value' lines, not {type(content).__name__}")
    return content or {}


def _file_hint(path: Path) -> str:
    files = sorted(item.name for item in path.parent.glob("*.yaml"))
    match = closest(path.name, files)
    if match:
        return f"; did you mean '{path.parent / match}'?"
    return f"; that folder has: {', '.join(files)}" if files else ""


def _parse_override(override: str) -> dict:
    key, sign, text = override.partition("=")
    parts = key.strip().split(".")
    if not sign or not all(parts):
        raise InputError(f"override '{override}' is not of the form key=value, such as optim.lr=1e-3")
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"the value of override '{override}' is not valid YAML: {_one_line(error)}") from error
    for part in reversed(parts):
        value = {part: value}
    return value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: 1e-4 is a number, and a key that is given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """The counterpart of _Loader: writes the text '1e-4' in quotes, since it would be read as a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )
