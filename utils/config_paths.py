"""Paths of configs: whether there is one, and which one is meant by a path where there is none."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from pointrecon.utils.errors import closest
from pointrecon.utils.files.io import find_problem

TABLES = "ablation"  # a folder of tables of runs, which are no configs


def is_file(path: Path) -> bool:
    """Whether there is such a file; no for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def short(path: Path) -> str:
    """Returns a path without detours, as a person would write it here."""
    resolved = path.resolve()
    return str(resolved.relative_to(Path.cwd())) if resolved.is_relative_to(Path.cwd()) else str(path)


def describe_missing(path: Path, schema_folder: Path) -> str:
    """Makes the message about a config that is not there: the nearest ones.

    Args:
        path: What was given.
        schema_folder: Beside it are this project's configs; those of other repositories have like names elsewhere.
    """
    names = _configs_in(schema_folder.parent, schema_folder)
    try:
        beside = [str(item) for item in sorted(path.parent.glob("*.yaml"))]
    except (OSError, ValueError):
        beside = []
    problem = find_problem(path)
    if problem == "is a folder":
        inside = _configs_in(path, schema_folder)
        named = f"such as {' or '.join(_spread(inside or names))}"
        return f"config '{path}' is a folder{'' if inside else ' without configs'}; give a file, {named}"
    if problem != "does not exist":
        return f"config '{path}' {problem}; give a file"
    match = closest(str(path), beside)
    likely = [match] if match else _nearest_paths(path, names)
    if not likely:
        hint = f"there are {len(names)}, such as {' or '.join(_spread(names))}"
    else:
        hint = f"did you mean {' or '.join(repr(name) for name in likely)}?"
    return f"there is no config file {str(path)!r:.300}; {hint}"


def _configs_in(folder: Path, schema_folder: Path) -> list[str]:
    others = (schema_folder.name, TABLES)
    return [short(item) for item in sorted(folder.rglob("*.yaml")) if item.parent.name not in others]


def _spread(paths: Sequence[str]) -> list[str]:
    """The first, the middle and the last of some paths."""
    return sorted({paths[0], paths[len(paths) // 2], paths[-1]}) if paths else []


def _nearest_paths(path: Path, names: Sequence[str]) -> list[str]:
    """Up to four configs that are most like a path: those of the same name, or else those whose path looks alike."""
    tail = str(Path(*path.parts[-2:]))[-200:]
    by_tail = {str(Path(*Path(name).parts[-2:])): name for name in names}
    same = [item for item in by_tail if Path(item).name == path.name]
    inside = [item for item in by_tail if Path(item).parent.name == path.stem]
    if same or inside:
        ranked = difflib.get_close_matches(tail, same, n=len(same) or 1, cutoff=0.0)
        return [by_tail[item] for item in [*ranked[: 3 if inside else 4], *inside[:1]]]
    return [by_tail[item] for item in difflib.get_close_matches(tail, by_tail, n=3, cutoff=0.6)]
