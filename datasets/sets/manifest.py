"""The list of a prepared data set's shapes, and the names of the files beside it."""

import hashlib
from pathlib import Path
from typing import Any

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.checks.limits import read_bytes
from pointrecon.utils.files.json_text import MAX_JSON_BYTES, JsonError, parse_json_lines

FORMAT = "debshapes 1"
POINTS, VIEWS, MANIFEST = "points.h5", "views.h5", "manifest.jsonl"
FIELDS = ("id", "package", "version", "path", "name", "text", "licence", "creator")


def read_manifest(folder: Path) -> tuple[list[dict[str, Any]], str]:
    """Reads the manifest.

    Returns:
        One row a shape, and the key that the other files must have.

    Raises:
        InputError: It is missing or damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            f"there is no '{path}'; make the data set with python scripts/prepare_data.py debshapes, or set data_root "
            f"to the folder that has {folder.name}/ in it"
        )
    try:
        text = read_bytes(path, MAX_JSON_BYTES)
        rows = parse_json_lines(text)
    except JsonError as error:
        raise InputError(f"'{path}' is damaged; make the data set again ({error})") from error
    if not rows or any(not isinstance(row, dict) or not set(FIELDS) <= row.keys() for row in rows):
        raise InputError(f"'{path}' is damaged: each line must have {', '.join(FIELDS)}; make the data set again")
    return rows, hashlib.sha256(text).hexdigest()
