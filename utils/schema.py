"""Checks a config against a schema, which is itself a config: every key with its default."""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pointrecon.utils.errors import InputError, closest, nearest

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}


class Schema:
    """Every allowed key with its default.

    The type of a default is the type of the key. A null default takes any value. A default of {} is a free-form
    section: the constructor that gets it checks what is in it. Null is taken where the default is null, by free-form
    sections (it empties them) and by sections below the top level that have a `type` (it switches them off).

    Args:
        defaults: The whole tree of keys.
    """

    def __init__(self, defaults: dict) -> None:
        self.defaults = defaults

    def check(self, tree: Mapping, where: str) -> dict:
        """Returns a part of a config with its values cast to the types of the defaults.

        Args:
            tree: What a file or an override says, nested as the schema.
            where: Where it was written, for messages.

        Raises:
            InputError: A key that the schema does not have, or a value of another type.
        """
        return self._check_section(tree, self.defaults, where, "")

    def known(self, tree: Mapping) -> dict:
        """Returns a part of a config without the keys that the schema does not have."""
        return _known(tree, self.defaults)

    def fill(self, tree: Mapping) -> dict:
        """Returns the whole config: `tree` where it says something, the defaults elsewhere."""
        return copy.deepcopy(_fill(tree, self.defaults))

    def _check_section(self, tree: Mapping, defaults: dict, where: str, prefix: str) -> dict:
        checked = {}
        for key, value in tree.items():
            path = f"{prefix}{key}"
            if key not in defaults:
                raise InputError(f"unknown key '{path}' in {where}; {self._key_hint(key, defaults, prefix)}")
            default = defaults[key]
            if isinstance(default, dict) and isinstance(value, Mapping):
                checked[key] = self._check_section(value, default, where, f"{path}.") if default else value
            elif isinstance(default, dict):
                checked[key] = _check_no_section(value, default, where, path)
            elif isinstance(default, list):
                checked[key] = _check_list(value, default, where, path)
            else:
                checked[key] = value if default is None else _cast(value, default, where, path)
        return checked

    def _key_hint(self, key: str, defaults: dict, prefix: str) -> str:
        # The same word in another section is a likelier intention than a similar word in this one.
        elsewhere = [path for path in _dotted_keys(self.defaults) if path.split(".")[-1] == key][:3]
        if elsewhere:
            return f"did you mean {' or '.join(repr(path) for path in elsewhere)}?"
        match = closest(key, defaults)
        return f"did you mean '{prefix}{match}'?" if match else nearest(key, defaults)


def _known(tree: Mapping, defaults: dict) -> dict:
    both = {key: (value, defaults[key]) for key, value in tree.items() if key in defaults}
    return {
        key: _known(value, default) if isinstance(value, Mapping) and isinstance(default, dict) and default else value
        for key, (value, default) in both.items()
    }


def _fill(tree: Mapping, defaults: dict) -> dict:
    full = {}
    for key, default in defaults.items():
        value = tree.get(key, default)
        if isinstance(default, dict) and default:
            full[key] = _fill(value, default) if isinstance(value, Mapping) else value
        else:
            full[key] = {} if default == {} and value is None else value
    return full


def _dotted_keys(defaults: dict, prefix: str = "") -> Iterator[str]:
    for key, value in defaults.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _dotted_keys(value, f"{prefix}{key}.")


def _check_no_section(value: Any, default: dict, where: str, path: str) -> None:
    can_be_null = not default or ("." in path and "type" in default)
    if value is not None or not can_be_null:
        example = f"{path}.{next(iter(default), 'name')}"
        raise InputError(f"'{path}' in {where} is {_show(value)}, but is a section; set a key in it, such as {example}")


def _check_list(value: Any, default: list, where: str, path: str) -> list:
    if not isinstance(value, list):
        raise _type_error(value, default, where, path)
    # If all defaults are of one type, so is each element; an empty or a mixed default says nothing about them.
    if len({type(item) for item in default}) != 1:
        return value
    return [_cast(item, default[0], where, path) for item in value]


def _cast(value: Any, default: Any, where: str, path: str) -> Any:
    kind = type(default)
    if kind not in (int, float):
        if type(value) is kind:
            return value
    elif isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number) and (kind is float or number.is_integer()):
            return kind(value if isinstance(value, int) else number)  # a large whole number is no float's
    raise _type_error(value, default, where, path)


def _type_error(value: Any, default: Any, where: str, path: str) -> InputError:
    kind = "null" if value is None else "section" if isinstance(value, Mapping) else type(value).__name__
    given = "null" if value is None else f"{_show(value)} ({kind})"
    return InputError(f"'{path}' in {where} is {given}, but must be {KINDS[type(default)]} such as {_show(default)}")


def _show(value: Any) -> str:
    """Writes a value as YAML would."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)
