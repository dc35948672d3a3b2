"""The error for user mistakes, and the hints that such an error ends with. Standard library only: it loads fast."""

import difflib
from collections.abc import Iterable

NULL_WORDS = ("none", "null", "nil", "nothing")


class InputError(ValueError):
    """A mistake in what the user gave: one sentence with what was given, what is allowed and what to do next.

    main.py prints it without a traceback and exits with 2. What a damaged file holds may be quoted in it, so a text of
    more than `MAX_LENGTH` loses its middle.
    """

    MAX_LENGTH = 2000

    def __init__(self, message: str) -> None:
        half = self.MAX_LENGTH // 2
        super().__init__(message if len(message) <= self.MAX_LENGTH else f"{message[:half]} ... {message[-half:]}")


def closest(name: str, valid: Iterable[str]) -> str | None:
    """Finds the valid name most like `name`, whatever the case; None if none is near.

    Args:
        name: What the user wrote.
        valid: The names that are allowed.
    """
    by_lower = {str(item).lower(): str(item) for item in valid}
    matches = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else None


def nearest(name: str, valid: Iterable[str]) -> str:
    """Makes the end of an error message: the nearest valid name or, if none is near, all of them.

    Args:
        name: What the user wrote.
        valid: The names that are allowed.
    """
    valid = [str(item) for item in valid]
    match = closest(name, valid)
    if match is not None:
        return f"did you mean '{match}'?"
    return f"allowed: {', '.join(valid)}" if valid else "nothing is allowed here"


def is_null_word(value: object) -> bool:
    """Whether a value is a text that says None, which YAML and the shell hand on as a text like any other."""
    return isinstance(value, str) and value.strip().lower() in NULL_WORDS


def check_choice(what: str, value: object, valid: Iterable[str]) -> None:
    """Refuses a value that is not among the allowed ones.

    Args:
        what: How the user knows the value, such as 'precision'.
        value: The value given.
        valid: The values that are allowed.

    Raises:
        InputError: The value is not allowed.
    """
    valid = list(valid)
    if value not in valid:
        match = closest(str(value), valid)
        hint = f"; did you mean '{match}'?" if match else ""
        raise InputError(f"{what} is '{value}', but must be one of: {', '.join(valid)}{hint}")
