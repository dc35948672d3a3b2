"""YAML as a person reads it, for configs: text -> plain values, and back.

YAML 1.1 has readings that nobody expects. Here `010` is ten and not eight, `1:30` is a text and not ninety, `1e-4` is a
number and a date is a text; a key that is given twice is an error.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml
from easydict import EasyDict

from pointrecon.utils.files.checks.expansion import ExpansionError, check_expansion

MAX_EXPANSION = 1 << 20  # bytes of a file's content with its aliases written out
MAX_DEPTH = 20  # of sections in sections

# What reading may raise. ValueError: numbers of too many digits, and no UTF-8. The rest: tags that their value does not
# fit.
YAML_ERRORS = (yaml.YAMLError, ExpansionError, ValueError, RecursionError, TypeError, LookupError, AttributeError)

# No pattern may try a digit twice: a text of 100,000 digits would take minutes.
_WHOLE = re.compile(r"[-+]?(?:[0-9]+|[0-9]{1,3}(?:_[0-9]{3})+)\Z")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")


def parse(text: str) -> Any:
    """Reads YAML.

    Args:
        text: What a file holds, or a single value.

    Returns:
        Dictionaries, lists, texts, numbers, truth values and None.

    Raises:
        Exception: One of YAML_ERRORS, if the text is not YAML or holds what a config cannot.
    """
    content = yaml.load(text, Loader=_Loader)
    check_expansion(content, MAX_EXPANSION, MAX_DEPTH)
    _check_values(content)
    return content


def parse_number(text: str) -> int | float | None:
    """Returns the number that a text says, as `parse` would read it; None if it says none."""
    if _WHOLE.match(text):
        return int(text.replace("_", ""))
    return float(text) if _NUMBER.match(text) else None


def dump(content: Any) -> str:
    """Writes plain values so that `parse` and any other YAML reader give them back; keys keep their order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120)


def comments(text: str) -> Iterator[tuple[str, str]]:
    """Yields (dotted key, comment) for every key whose value ends on a line with a comment.

    Args:
        text: A YAML file that `parse` accepts.
    """
    node = yaml.compose(text, Loader=_Loader)
    if isinstance(node, yaml.MappingNode):
        yield from _comments(node, text.split("\n"), "")


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


def _comments(section: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in section.value:
        path = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _comments(value, lines, f"{path}.")
            continue
        comment = re.match(r"\s*#\s*(.*)", lines[value.end_mark.line][value.end_mark.column :])
        if comment:
            yield path, comment[1].strip()


def _check_values(value: Any) -> None:
    """Refuses what is no number, text, list or section: YAML has bytes, sets and more, and JSON has not."""
    if isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            _check_values(item)
    elif value is not None and not isinstance(value, (bool, int, float, str)):
        raise ValueError(f"it has a value of type {type(value).__name__}; put it in quotes")


class _Loader(yaml.SafeLoader):
    """Reads numbers as people do, and refuses a key that is given twice."""

    yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBER_TAGS]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        """Brackets in brackets: each costs time for every one around it, so they end before the text does."""
        if self.flow_level >= MAX_DEPTH:
            raise yaml.scanner.ScannerError(None, None, f"more than {MAX_DEPTH} brackets in brackets", self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

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

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """A number, in decimal digits whatever it begins with."""
        text = str(self.construct_scalar(node))
        if _NOT_FINITE.match(text):
            return float(text.lower().replace(".", ""))
        number = parse_number(text)
        if number is None:
            raise ValueError(f"'{text:.40}' is not a number")
        return number


class _Dumper(yaml.SafeDumper):
    """The counterpart of _Loader: puts in quotes what it, or the readings of YAML 1.1, would take for a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:int", _WHOLE, list("-+0123456789"))
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _NOT_FINITE, list("-+."))
for _tag in _NUMBER_TAGS[:2]:
    _Loader.add_constructor(_tag, _Loader.construct_number)
