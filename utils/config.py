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

from pointrecon.utils.errors import InputError, closest
from pointrecon.utils.files.expansion import ExpansionError, check_expansion
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.schema import Schema

MAX_BYTES = 1 << 18  # of a file; the resolved config of a run has 10 kB, and YAML is slow to read
MAX_EXPANSION = 1 << 20  # bytes of a file's content with its aliases written out
MAX_DEPTH = 20  # of sections in sections, and of bases of bases
MAX_BASES = 200  # files that are read for one config, each time that one is named
SCHEMA_FOLDER = Path(__file__).resolve().parent.parent / "cfgs" / "_base_"


def load_config(path: str | Path, overrides: Iterable[str] = (), schema_folder: str | Path = SCHEMA_FOLDER) -> EasyDict:
    """Returns the defaults, changed by a file with its bases, changed by the overrides.

    Args:
        path: The YAML file.
        overrides: Texts `a.b=value`, the value in YAML; later ones win.
        schema_folder: The folder whose files together hold every key with its default.

    Raises:
        InputError: A missing or broken file, a cycle, an unknown key, a value of the wrong type, or more than a config
            can need: of bytes, of bases, of sections in sections.
    """
    schema = _load_schema(Path(schema_folder))
    tree = _load_file(Path(path), schema, (), [])
    for override in overrides:
        where = f"the override '{override}'"
        tree = merge(tree, schema.check(_parse_override(override), where))
    return EasyDict(schema.fill(tree))


def complete_config(tree: Mapping, where: str, schema_folder: str | Path = SCHEMA_FOLDER) -> EasyDict:
    """Returns the defaults, changed by a part of a config, such as the one that an older version wrote.

    Args:
        tree: Nested as a config; keys that no config has any more are left out.
        where: Where it stands, for messages.
        schema_folder: As for `load_config`.

    Raises:
        InputError: A value of the wrong type.
    """
    schema = _load_schema(Path(schema_folder))
    return EasyDict(schema.fill(schema.check(schema.known(tree), where)))


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


def _load_file(path: Path, schema: Schema, parents: tuple[Path, ...], read: list[Path]) -> dict:
    """Reads a file and its bases; `read` is all that was read so far."""
    if not is_file(path):
        raise InputError(f"there is no config file {str(path)!r}{_file_hint(path)}")
    if path.resolve() in parents:
        chain = " -> ".join(item.name for item in (*parents, path))
        raise InputError(f"config '{path}' is its own base ({chain}); remove one '_base_'")
    read.append(path)
    if len(read) > MAX_BASES or len(parents) > MAX_DEPTH:
        raise InputError(
            f"config '{(*parents, path)[0]}' has more than {MAX_BASES} bases, or bases of bases more than {MAX_DEPTH} "
            "deep; name fewer in '_base_'"
        )
    content = _read_yaml(path)
    bases = content.pop("_base_", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise InputError(f"'_base_' in {path} must be a path or a list of paths, not {bases!r}")
    tree: dict = {}
    for base in bases:
        base_path = path.parent / base
        if not is_file(base_path):
            raise InputError(f"'_base_' of {path} is {base!r:.80}, but there is no file {str(base_path)!r:.300}")
        tree = merge(tree, _load_file(base_path, schema, (*parents, path.resolve()), read))
    return merge(tree, schema.check(content, str(path)))


def _read_yaml(path: Path) -> dict:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"config '{path}' has {size:,} bytes, but a config has {MAX_BYTES:,} at most; is it one?")
        content = _parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"config '{path}' cannot be read: {error.strerror}") from error
    except _NO_YAML as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"config '{path}' is not valid YAML: {_one_line(error)}") from error
    if content is not None and not isinstance(content, dict):
        raise InputError(f"config '{path}' must hold 'key: value' lines, not {type(content).__name__}")
    return content or {}


def is_file(path: Path) -> bool:
    """Whether there is such a file; no for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def _parse(text: str) -> Any:
    content = yaml.load(text, Loader=_Loader)
    check_expansion(content, MAX_EXPANSION, MAX_DEPTH)
    _check_values(content)
    return content


def _check_values(value: Any) -> None:
    """Refuses what is no number, text, list or section: YAML has bytes, sets, dates and more, and JSON has not."""
    if isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            _check_values(item)
    elif value is not None and not isinstance(value, (bool, int, float, str)):
        raise ValueError(f"it has a value of type {type(value).__name__}; put it in quotes")


def _file_hint(path: Path) -> str:
    try:
        files = sorted(item.name for item in path.parent.glob("*.yaml"))
    except (OSError, ValueError):
        return ""
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
        if len(override) > MAX_BYTES or len(parts) > MAX_DEPTH:
            raise ValueError(f"it is longer than {MAX_BYTES:,} bytes or deeper than {MAX_DEPTH} sections")
        value = _parse(text)
        for part in reversed(parts):
            value = {check_key(part): value}
        return value
    except _NO_YAML as error:
        raise InputError(f"the value of override '{override:.80}' is not valid YAML: {_one_line(error)}") from error


def check_key(key: Any) -> str:
    """Returns a key that a config can have.

    Raises:
        ValueError: It is no text, or a name with a meaning of its own: a config's keys are its attributes.
    """
    if not isinstance(key, str):
        raise ValueError(f"key {key!r} is not text")
    if hasattr(EasyDict, key):
        raise ValueError(f"key '{key}' is a name that Python needs; choose another")
    return key


def _one_line(error: Exception) -> str:
    return f"{' '.join(str(error).split()):.300}"


# ValueError: numbers of too many digits, and no UTF-8. The rest: tags whose value does not fit them.
_NO_YAML = (yaml.YAMLError, ExpansionError, ValueError, RecursionError, TypeError, LookupError, AttributeError)


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: 1e-4 is a number, a date is a text, and a key that is given twice is an error."""

    yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            try:
                check_key(key)
            except ValueError as error:
                raise yaml.constructor.ConstructorError(None, None, str(error), key_node.start_mark) from error
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
