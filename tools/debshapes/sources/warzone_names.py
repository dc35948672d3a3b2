"""What the meshes of Warzone 2100 are: their file names are codes; 'prhltrk2' are the tracks of a heavy vehicle."""

import re

from pointrecon.tools.debshapes.sources.names import load_table

_PATTERNS: list[tuple[str, str]] = load_table("warzone")["patterns"]


def name_of(folder: str, name: str) -> str:
    """Returns what the mesh is called, '' if its name says it itself.

    Args:
        folder: Inside the archive.
        name: File name without its ending.
    """
    stem = re.sub(r"\d+.*$", "", name.lower()) or name.lower()
    place = f"/{folder}/{stem}"
    return next((words for pattern, words in _PATTERNS if re.search(pattern, place)), "")
