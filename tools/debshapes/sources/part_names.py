"""What meshes are whose file names are codes, as the games and robots that they come from call them."""

import re

from pointrecon.tools.debshapes.sources import warzone_names
from pointrecon.tools.debshapes.sources.names import load_table

_TABLES: dict[str, dict[str, str]] = load_table("parts")["tables"]
_NAMES = {
    source: {stem: text for text, stems in table.items() for stem in stems.split()} for source, table in _TABLES.items()
}
# Hubo's parts are named by the joint that moves them: side, joint, axis.
_HUBO: dict[str, str] = load_table("parts")["hubo"]
_ROBOTS: dict[str, str] = load_table("parts")["robots"]  # by folder


def name_of(source: str, hints: tuple[str, ...], name: str) -> str:
    """Returns what the mesh is called, '' if its name is no code that is known.

    Args:
        source: Key of SOURCES.
        hints: Folders, from general to special.
        name: File name without its ending.
    """
    if source == "warzone2100":
        return warzone_names.name_of("/".join(hints), name)
    names = _NAMES.get(source, {})
    found = names.get(name.lower()) or names.get(re.sub(r"\d+$", "*", name.lower()), "")
    if found or source != "dart":
        return found
    if "drchubo" in hints:
        code = name.removeprefix("convhull_").removesuffix("_merged")
        part = "torso" if code[:1] == "T" else "neck" if code[:1] == "N" else _HUBO.get(code[1:2], "")
        return f"humanoid robot {part}".strip()
    robot = next((text for folder, text in _ROBOTS.items() if folder in hints), "robot")
    words = re.sub(r"^[lr]_|wam\d?|link|collision|_", " ", name.lower()).split()
    return " ".join([robot, *(words or ["link"])])
