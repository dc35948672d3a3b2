"""What a config key may be set to, beyond its type: ranges, lengths, choices.

A rule stands in brackets at the start of the key's comment, in the file that has its default:

    lr: 5.0e-4          # [> 0] highest learning rate
    betas: [0.9, 0.99]  # [2 values, >= 0, < 1] decay of Adam's averages
    scale: [0.8, 1.2]   # [2 values, rising, > 0] a range: no value is below the one before it
    fold: null          # [whole, >= 0] a key whose default says no type
    device: auto        # [auto | cpu | cuda | cuda:N, gpu = cuda] N is any number; whoever writes gpu is told of cuda
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pointrecon.utils.errors import closest

KINDS: dict[str, type] = {"whole": int, "number": float, "text": str, "switch": bool}
WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
}
_BOUNDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    ">=": (operator.ge, "at least"),
    ">": (operator.gt, "above"),
    "<=": (operator.le, "at most"),
    "<": (operator.lt, "below"),
}


@dataclass(frozen=True)
class Rule:
    """What one key may be.

    Attributes:
        kind: Type of the value or, in a list, of each element; None: that of the default.
        length: Number of elements of a list; None: any.
        is_rising: No element of a list is below the one before it.
        bounds: (sign, number) that hold for the value or for each element.
        choices: Texts that are allowed; "N" in one stands for any whole number, and "<word>" for any text, which is
            looked at later. Empty: all.
        synonyms: Word that is not allowed -> the allowed one that is meant.
    """

    kind: type | None = None
    length: int | None = None
    is_rising: bool = False
    bounds: tuple[tuple[str, float], ...] = ()
    choices: tuple[str, ...] = ()
    synonyms: Mapping[str, str] = field(default_factory=dict)

    def problem(self, value: Any) -> str | None:
        """Says what a value of the right type must be instead: "must be at least 0"; None if it is right."""
        if self.length is not None and len(value) != self.length:
            return f"must have {self.length} values"
        for item in value if isinstance(value, list) else [value]:
            if self.choices and (item in self.synonyms or not any(_fits(choice, item) for choice in self.choices)):
                return f"must be one of: {', '.join(self.choices)}{self._hint(item)}"
            if not all(math.isfinite(item) and _BOUNDS[sign][0](item, bound) for sign, bound in self.bounds):
                each = "each " if isinstance(value, list) else ""
                return f"{each}must be {self.range}"
        if self.is_rising and value != sorted(value):
            return f"must go from the smaller to the larger number, such as {sorted(value)}"
        return None

    @property
    def range(self) -> str:
        """The bounds in words: "above 0 and at most 1"."""
        return " and ".join(f"{_BOUNDS[sign][1]} {_plain(bound)}" for sign, bound in self.bounds)

    def _hint(self, word: str) -> str:
        match = self.synonyms.get(word.lower()) or closest(word, self.choices)
        return f"; did you mean '{match}'?" if match else ""


def parse_rule(comment: str) -> Rule:
    """Reads the rule at the start of a comment; a comment without brackets says nothing.

    Args:
        comment: What stands behind `#`.

    Raises:
        ValueError: The brackets hold what is no rule.
    """
    brackets = re.match(r"\[(.*?)\]", comment)
    options: dict[str, Any] = {"bounds": [], "synonyms": {}}
    for part in (item.strip() for item in brackets[1].split(",")) if brackets else ():
        if bound := re.fullmatch(r"(>=|>|<=|<) (-?[\d.]+)", part):
            options["bounds"].append((bound[1], float(bound[2])))
        elif length := re.fullmatch(r"(\d+) values", part):
            options["length"] = int(length[1])
        elif synonym := re.fullmatch(r"([\w-]+) = ([\w-]+)", part):
            options["synonyms"][synonym[1]] = synonym[2]
        elif part == "rising":
            options["is_rising"] = True
        elif part in KINDS:
            options["kind"] = KINDS[part]
        elif re.fullmatch(r"[\w:<>-]+( \| [\w:<>-]+)*", part):
            options["choices"] = tuple(choice.strip() for choice in part.split("|"))
        else:
            raise ValueError(f"'{part}' in '{comment:.60}' is no rule; see utils/rules.py")
    return Rule(**{**options, "bounds": tuple(options["bounds"])})


def _fits(choice: str, word: object) -> bool:
    if choice.startswith("<"):
        return True
    word = str(word).lower() if isinstance(word, bool) else word
    pattern = r"\d+".join(re.escape(part) for part in re.split(r"\bN\b", choice))
    return re.fullmatch(pattern, str(word)) is not None


def _plain(number: float) -> str:
    return str(int(number)) if number.is_integer() else str(number)
