"""Reads, merges and writes YAML configs. Knows no key of this project: those are in cfgs/_base_.

A file may build on others with `_base_: path` or `_base_: [paths]`, relative to itself. Later ones win, the file last.
"""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from easydict import EasyDict

from pointrecon.utils.config_paths import describe_missing, is_file, short
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, find_problem
from pointrecon.utils.rules import Rule, parse_rule
from pointrecon.utils.schema import Schema
from pointrecon.utils.yaml_text import MAX_DEPTH, YAML_ERRORS, check_key, comments, dump, parse

MAX_BYTES = 1 << 18  # of a file; the resolved config of a run has 10 kB, and YAML is slow to read
MAX_BASES = 200  # files that are read for one config, each time that one is named
COMMAND_LINE = "command line"
SCHEMA_FOLDER = Path(__file__).resolve().parent.parent / "cfgs" / "_base_"


class Resolved(NamedTuple):
    """A config, and where it comes from."""

    cfg: EasyDict
    origins: dict[str, str]  # dotted key -> the file or COMMAND_LINE that set it; nothing for a default


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
    return resolve_config(path, overrides, schema_folder).cfg


def resolve_config(
    path: str | Path, overrides: Iterable[str] = (), schema_folder: str | Path = SCHEMA_FOLDER
) -> Resolved:
    """Returns the config that `load_config` does, and where each of its values comes from.

    Args:
        path: As for `load_config`.
        overrides: As for `load_config`.
        schema_folder: As for `load_config`.

    Raises:
        InputError: As `load_config` does.
    """
    schema = load_schema(schema_folder)
    layer = _load_file(Path(path), schema, (), [])
    for override in overrides:
        where = f"the override '{override:.200}'"
        layer = layer.over(_Layer.of(schema.check(_parse_override(override), where), COMMAND_LINE))
    return Resolved(EasyDict(schema.fill(layer.tree)), flatten(layer.origins))


def complete_config(tree: Mapping, where: str, schema_folder: str | Path = SCHEMA_FOLDER) -> EasyDict:
    """Returns the defaults, changed by a part of a config, such as the one that an older version wrote.

    Args:
        tree: Nested as a config; keys that no config has any more are left out.
        where: Where it stands, for messages.
        schema_folder: As for `load_config`.

    Raises:
        InputError: A value of the wrong type.
    """
    schema = load_schema(schema_folder)
    return EasyDict(schema.fill(schema.check(schema.known(tree), where)))


def check_part(tree: Mapping, where: str) -> dict:
    """Returns a part of a config that does not come from a file, checked as one that does; see `Schema.check`."""
    return load_schema().check(tree, where)


def save_config(cfg: Mapping, path: str | Path) -> None:
    """Writes a config as plain YAML that `load_config` reads back to the same config; keys keep their order."""
    with atomic_write(path) as temporary:
        temporary.write_text(dump(to_plain(cfg)), encoding="utf-8")


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
    flat: dict[str, Any] = {}
    for key, value in cfg.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = to_plain(value)
    return flat


def load_schema(folder: str | Path = SCHEMA_FOLDER) -> Schema:
    """Returns the schema that the files of a folder make together: every key, its default and its rule."""
    return _load_schema(Path(folder))


@functools.lru_cache(maxsize=8)
def _load_schema(folder: Path) -> Schema:
    defaults: dict[str, Any] = {}
    rules: dict[str, Rule] = {}
    for path in sorted(folder.glob("*.yaml")):
        defaults = merge(defaults, _read_yaml(path))
        rules |= {key: parse_rule(comment) for key, comment in comments(path.read_text(encoding="utf-8"))}
    assert defaults, f"no schema in {folder}"
    # Single keys before sections: a config that is written out starts with what the run does.
    return Schema(dict(sorted(defaults.items(), key=lambda item: isinstance(item[1], dict))), rules)


class _Layer(NamedTuple):
    """A part of a config and, nested alike, where each value was written."""

    tree: dict[str, Any]
    origins: dict[str, Any]

    @classmethod
    def of(cls, tree: dict[str, Any], where: str) -> "_Layer":
        return cls(tree, _mark(tree, where))

    def over(self, other: "_Layer") -> "_Layer":
        """This layer, with the values of another one over it."""
        return _Layer(merge(self.tree, other.tree), merge(self.origins, other.origins))


def _mark(tree: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {key: _mark(value, where) if isinstance(value, Mapping) else where for key, value in tree.items()}


def _load_file(path: Path, schema: Schema, parents: tuple[Path, ...], read: list[Path]) -> _Layer:
    """Reads a file and its bases; `read` is all that was read so far."""
    if not is_file(path):
        raise InputError(describe_missing(path, SCHEMA_FOLDER))
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
    layer = _Layer({}, {})
    for base in bases:
        base_path = path.parent / base
        if not is_file(base_path):
            found, problem = f"{str(base_path)!r:.300}", find_problem(base_path)
            told = f"there is no file {found}" if problem == "does not exist" else f"{found} {problem}"
            raise InputError(f"'_base_' of {path} is {base!r:.80}, but {told}")
        layer = layer.over(_load_file(base_path, schema, (*parents, path.resolve()), read))
    return layer.over(_Layer.of(schema.check(content, str(path)), short(path)))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"config '{path}' has {size:,} bytes, but a config has {MAX_BYTES:,} at most; is it one?")
        content = parse(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"config '{path}' cannot be read: {error.strerror}") from error
    except YAML_ERRORS as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"config '{path}' is not valid YAML: {_one_line(error)}") from error
    if content is not None and not isinstance(content, dict):
        raise InputError(f"config '{path}' must hold 'key: value' lines, not {type(content).__name__}")
    return content or {}


def _parse_override(override: str) -> dict[str, Any]:
    key, sign, text = override.partition("=")
    parts = key.strip().split(".")
    if not sign or not all(parts):
        raise InputError(f"override '{override:.200}' is not of the form key=value, such as optim.lr=1e-3")
    try:
        if len(override) > MAX_BYTES or len(parts) > MAX_DEPTH:
            raise ValueError(f"it is longer than {MAX_BYTES:,} bytes or deeper than {MAX_DEPTH} sections")
        value = parse(text)
        for part in reversed(parts):
            value = {check_key(part): value}
        return dict(value)
    except YAML_ERRORS as error:
        raise InputError(f"the value of override '{override:.80}' is not valid YAML: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return f"{' '.join(str(error)[:2000].split()):.300}"
