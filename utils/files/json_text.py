"""JSON: what it becomes is counted before it is parsed, and a mark of the byte order at its start is no damage."""

import json
from pathlib import Path
from typing import Any

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.checks.limits import MAX_OBJECTS_BYTES, read_bytes

MAX_JSON_BYTES = 64 << 20
# Bytes of memory: an empty object, an empty list, and what follows a comma or a colon.
_OBJECT, _LIST, _VALUE = 232, 96, 60
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # of the byte order, as some editors write them


class JsonError(ValueError):
    """The text is no JSON, or becomes too large."""


def parse_json(text: str | bytes) -> Any:
    """Parses JSON.

    Args:
        text: As text, UTF-8, or UTF-16 with a mark of the byte order.

    Raises:
        JsonError: It is no JSON, is nested too deep, or becomes too large.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode(_MARKS.get(text[:2], "utf-8-sig"))
        counts = {sign: text.count(sign) for sign in "{[,:"}
        claimed = counts["{"] * _OBJECT + counts["["] * _LIST + (counts[","] + counts[":"]) * _VALUE
        if claimed > MAX_OBJECTS_BYTES:
            raise JsonError(f"it becomes about {claimed:,} bytes of objects; {MAX_OBJECTS_BYTES:,} are allowed")
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # no JSON or no text; numbers too long; lists nested too deep
        if isinstance(error, JsonError):
            raise
        raise JsonError(str(error)) from error


def parse_json_lines(data: bytes) -> list[Any]:
    """Parses JSON Lines: one value a line, empty lines left out.

    Raises:
        JsonError: A line is no JSON, or all of them become too large.
    """
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    claimed = sum(data.count(sign) * size for sign, size in ((b"{", _OBJECT), (b"[", _LIST), (b",", _VALUE)))
    if claimed > MAX_OBJECTS_BYTES:
        raise JsonError(f"it becomes about {claimed:,} bytes of objects; {MAX_OBJECTS_BYTES:,} are allowed")
    return [parse_json(line) for line in lines if line.strip()]


def read_json_lines(path: str | Path) -> list[Any]:
    """Reads a file of JSON Lines.

    Raises:
        InputError: The file is missing, too large, or a line in it is no JSON.
    """
    try:
        return parse_json_lines(read_bytes(path, MAX_JSON_BYTES))
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}); give the path of a file") from error
    except JsonError as error:
        raise InputError(f"'{path}' has a line that is not valid JSON: {error}") from error
