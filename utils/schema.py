"""Checks a config against a schema, which is itself a config: every key with its default, and what it may be."""

import copy
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pointrecon.utils.errors import InputError, closest, is_null_word, nearest
from pointrecon.utils.rules import WORDS, Rule
from pointrecon.utils.yaml_text import parse_number

ANY = "<name>"  # in the schema: stands for every name that the section does not list
REGISTERED = ("task", "type", "block")  # names of classes: whoever looks them up says which there are
NO_RULE = Rule()
_UNKNOWN = object()


class Schema:
    """Every allowed key with its default, and the rules of the keys.

    The type of a default is the type of the key; that of a null default is in its rule, or it takes any value. A
    default of {} is a free-form section: the constructor that gets it checks what is in it. A section with an entry
    `<name>` takes further names, whose values are like that entry. Null is taken where the default is null, by
    free-form sections (it empties them), by entries of such names, and by sections below the top level that have a
    `type` (it switches them off).

    Args:
        defaults: The whole tree of keys.
        rules: Dotted key -> rule.
    """

    def __init__(self, defaults: dict[str, Any], rules: Mapping[str, Rule] | None = None) -> None:
        self.defaults = defaults
        self.rules = rules or {}

    def check(self, tree: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Returns a part of a config with its values cast to the types of the defaults.

        Args:
            tree: What a file or an override says, nested as the schema.
            where: Where it was written, for messages.

        Raises:
            InputError: A key that the schema does not have, or a value of another type or out of range.
        """
        return self._check_section(tree, self.defaults, where, ("", ""))

    def known(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a part of a config without the keys that the schema does not have."""
        return _known(tree, self.defaults)

    def fill(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the whole config: `tree` where it says something, the defaults elsewhere."""
        return copy.deepcopy(_fill(tree, self.defaults))

    def keys(self) -> list[str]:
        """Returns all dotted keys, those of sections included, with `<name>` where any name may stand."""
        return list(_dotted_keys(self.defaults))

    def default_of(self, key: str) -> Any:
        """Returns the default of a dotted key; of a section, what is in it."""
        return functools.reduce(lambda section, part: section[part], key.split("."), self.defaults)

    def _check_section(
        self, tree: Mapping[str, Any], defaults: Mapping[str, Any], where: str, prefixes: tuple[str, str]
    ) -> dict[str, Any]:
        """`prefixes` are the dotted path of the section as it is written, and as the schema has it."""
        checked: dict[str, Any] = {}
        for key, value in tree.items():
            path = f"{prefixes[0]}{key}"
            known = key if key in defaults else ANY
            if key == ANY and value == defaults.get(ANY):
                continue  # a file of the schema is itself a config
            if known not in defaults or key == ANY:
                raise InputError(f"unknown key '{path}' in {where}; {self._key_hint(key, defaults, prefixes[0])}")
            default, place = defaults[known], f"{prefixes[1]}{known}"
            if isinstance(default, dict):
                if isinstance(value, Mapping):
                    inner = (f"{path}.", f"{place}.")
                    checked[key] = self._check_section(value, default, where, inner) if default else value
                else:
                    _check_no_section(value, default, where, path, known == ANY)
                    checked[key] = None
            else:
                checked[key] = _Key(path, where, default, self.rules.get(place, NO_RULE)).check(value)
        return checked

    def _key_hint(self, key: str, defaults: Mapping[str, Any], prefix: str) -> str:
        # The same word in another section is a likelier intention than a similar word in this one.
        elsewhere = self.places_of(key)
        if elsewhere:
            return f"did you mean {' or '.join(repr(path) for path in elsewhere)}?"
        match = closest(key, defaults)
        return f"did you mean '{prefix}{match}'?" if match else nearest(key, defaults)

    def places_of(self, word: str) -> list[str]:
        """Returns the first three dotted keys whose last part is `word`."""
        return [path for path in self.keys() if path.split(".")[-1] == word][:3]


class _Key:
    """One key as it was set, for its checks and their messages."""

    def __init__(self, path: str, where: str, default: Any, rule: Rule) -> None:
        self.path, self.where, self.default, self.rule = path, where, default, rule

    def check(self, value: Any) -> Any:
        """Returns the value, cast to its type."""
        if value is None and self.default is None:
            return None
        value = self._check_list(value) if isinstance(self.default, list) else self._check_single(value)
        problem = self.rule.problem(value)
        if problem is not None:
            null = ", or null" if self.default is None and not self.rule.choices else ""
            raise InputError(f"'{self.path}' in {self.where} is {_show(value)}, but {problem}{null}")
        return value

    def _check_single(self, value: Any) -> Any:
        kind = type(self.default) if self.default is not None else self.rule.kind
        if kind is bool and isinstance(value, str) and self.rule.choices:
            return value  # a switch that may say more, such as figures: pdf
        return value if kind is None else self._cast(value, kind)

    def _check_list(self, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self._type_error(value, list)
        # If all defaults are of one type, so is each element; an empty or a mixed default says nothing about them.
        kinds = {type(item) for item in self.default}
        kind = self.rule.kind or (kinds.pop() if len(kinds) == 1 else None)
        return value if kind is None else [self._cast(item, kind) for item in value]

    def _cast(self, value: Any, kind: type) -> Any:
        if kind not in (int, float):
            if type(value) is not kind:
                raise self._type_error(value, kind)
            if kind is str and is_null_word(value):
                self._check_null_word(str(value))
            return value
        number = parse_number(value) if isinstance(value, str) and len(value) < 100 else value
        if isinstance(number, (int, float)) and not isinstance(number, bool) and _is_finite(number):
            if kind is float:
                return float(number)
            if isinstance(number, int) or number.is_integer():
                return int(number)  # a large whole number is no float's
        raise self._type_error(value, kind)

    def _check_null_word(self, word: str) -> None:
        """Refuses None and the like as a text, which would become the name of a folder or a file."""
        if self.rule.choices or self.path.rpartition(".")[2] in REGISTERED:
            return
        wanted = "or null; did you mean null?" if self.default is None else f"such as {_show(self.default)}."
        raise InputError(
            f"'{self.path}' in {self.where} is {_show(word)}, a word for nothing, but must be text {wanted} A path "
            f"of that name is written './{word.strip()}'"
        )

    def _type_error(self, value: Any, kind: type) -> InputError:
        name = "null" if value is None else "section" if isinstance(value, Mapping) else type(value).__name__
        given = "null" if value is None else f"{_show(value)} ({name})"
        wanted = f"each a {WORDS[kind][2:]}" if isinstance(self.default, list) and kind is not list else WORDS[kind]
        bounds = f" {self.rule.range}" if self.rule.bounds else ""
        example = " or null" if self.default is None else f" such as {_show(self.default)}"
        if is_null_word(value) and self.default is None:
            example += "; did you mean null?"
        elif kind is str and isinstance(value, (bool, int, float)):
            example += "; put it in quotes if it is one"
        return InputError(f"'{self.path}' in {self.where} is {given}, but must be {wanted}{bounds}{example}")


def _known(tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: (value, defaults.get(key, defaults.get(ANY, _UNKNOWN))) for key, value in tree.items()}
    return {
        key: _known(value, default) if isinstance(value, Mapping) and isinstance(default, dict) and default else value
        for key, (value, default) in both.items()
        if default is not _UNKNOWN
    }


def _fill(tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    full = {}
    # In the order of the schema; names that it does not list come last.
    for key in (*(key for key in defaults if key != ANY), *(key for key in tree if key not in defaults)):
        default = defaults[key] if key in defaults else defaults[ANY]
        value = tree.get(key, default)
        if isinstance(default, dict) and default:
            value = {} if value is None and _is_free(default) else value
            full[key] = _fill(value, default) if isinstance(value, Mapping) else value
        else:
            full[key] = {} if default == {} and value is None else value
    return full


def _dotted_keys(defaults: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in defaults.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _dotted_keys(value, f"{prefix}{key}.")


def _is_free(section: Mapping[str, Any]) -> bool:
    """Whether a section has no keys of its own."""
    return not set(section) - {ANY}


def _check_no_section(value: Any, default: Mapping[str, Any], where: str, path: str, is_any: bool) -> None:
    can_be_null = _is_free(default) or is_any or ("." in path and "type" in default)
    if value is None and can_be_null:
        return
    key = next((key for key in default if key != ANY), "type" if is_any else ANY)
    off = f", or switch it off with {path}=null" if can_be_null and not _is_free(default) else ""
    raise InputError(
        f"'{path}' in {where} is {_show(value)}, but is a section; set a key in it, such as {path}.{key}{off}"
    )


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer that no float can hold
        return False


def _show(value: Any) -> str:
    """Writes a value as YAML would."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else f"{value!r:.200}"
