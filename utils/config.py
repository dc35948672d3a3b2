"""Reads, merges and writes YAML configs. Knows no key of this project: those are in cfgs/_base_.

A file may build on others with `_base_: path` or `_base_: [paths]`, relative to itself. Later ones win, the file last.
"""

import difflib
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from easydict import EasyDict

from pointrecon.utils.errors import InputError, closest
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.rules import parse_rule
from pointrecon.utils.schema import Schema
from pointrecon.utils.yaml_text import MAX_DEPTH, YAML_ERRORS, check_key, comments, dump, parse

MAX_BYTES = 1 << 18  # of a file; the resolved config of a run has 10 kB, and YAML is slow to read
MAX_BASES = 200  # files that are read for one config, each time that one is named
COMMAND_LINE = "command line"
SCHEMA_FOLDER = Path(__file__).resolve().parent.parent / "cfgs" / "_base_"


class Resolved(NamedTuple):
    """A config, and where it comes from."""

    cfg: EasyDict
    origins: dict[str, str]  # dotted key -> the file or COMMAND_LINE that set it; keys with their defaults are not in it


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
    schema = _load_schema(Path(schema_folder))
    return EasyDict(schema.fill(schema.check(schema.known(tree), where)))


def check_part(tree: Mapping, where: str) -> dict:
    """Returns a part of a config that comes from another place than a file, checked as a file is; see `Schema.check`."""
    return _load_schema(SCHEMA_FOLDER).check(tree, where)


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
    flat = {}
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
    rules = {}
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
        raise InputError(describe_missing(path))
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
            raise InputError(f"'_base_' of {path} is {base!r:.80}, but there is no file {str(base_path)!r:.300}")
        layer = layer.over(_load_file(base_path, schema, (*parents, path.resolve()), read))
    return layer.over(_Layer.of(schema.check(content, str(path)), _short(path)))


def _short(path: Path) -> str:
    """A path without its detours, as a person would write it here."""
    resolved = path.resolve()
    return str(resolved.relative_to(Path.cwd())) if resolved.is_relative_to(Path.cwd()) else str(path)


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


def is_file(path: Path) -> bool:
    """Whether there is such a file; no for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def describe_missing(path: Path, folder: Path = SCHEMA_FOLDER.parent) -> str:
    """Makes the message about a config that is not there: the nearest ones.

    Args:
        path: What was given.
        folder: Where configs are; those of other repositories have similar names in other places.
    """
    names = [_short(item) for item in sorted(folder.rglob("*.yaml")) if item.parent.name != SCHEMA_FOLDER.name]
    try:
        beside = [str(item) for item in sorted(path.parent.glob("*.yaml"))]
        is_folder = path.is_dir()
    except (OSError, ValueError):
        beside, is_folder = [], False
    if is_folder:
        inside = [str(item) for item in sorted(path.rglob("*.yaml")) if item.parent.name != SCHEMA_FOLDER.name]
        named = f"such as {' or '.join(_spread(inside or names))}"
        return f"config '{path}' is a folder{'' if inside else ' without configs'}; give a file, {named}"
    match = closest(str(path), beside)
    likely = [match] if match else _nearest_paths(path, names)
    hint = f"did you mean {' or '.join(repr(name) for name in likely)}?" if likely else f"there are: {', '.join(names)}"
    return f"there is no config file {str(path)!r:.300}; {hint}"


def _spread(paths: Sequence[str]) -> list[str]:
    """The first, the middle and the last of some paths."""
    return sorted({paths[0], paths[len(paths) // 2], paths[-1]}) if paths else []


def _nearest_paths(path: Path, names: Sequence[str]) -> list[str]:
    """Up to three configs that are most like a path: those of the same name, or else those whose path looks alike."""
    same = [name for name in names if Path(name).name == path.name or Path(name).parent.name == path.stem]
    by_tail = {str(Path(*Path(name).parts[-2:])): name for name in same or names}
    tail = str(Path(*path.parts[-2:]))[-200:]
    found = difflib.get_close_matches(tail, by_tail, n=3, cutoff=0.0 if same else 0.6)
    return [by_tail[item] for item in found]


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
