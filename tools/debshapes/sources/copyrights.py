"""Licence and creator of a file, as the 'copyright' file of its Debian package states them."""

import fnmatch
import functools
import re
from pathlib import Path

UNKNOWN = ("see the package's copyright file", "")


def licence_of(root: Path, package: str, path: str) -> tuple[str, str]:
    """Finds what the package says about one of its files.

    The patterns of a machine-readable copyright file are about the source, so a pattern is tried on the path and on
    what is left when leading folders are dropped. Of several that fit, the last one holds, as Debian's policy has it.

    Args:
        root: Folder of the unpacked package.
        package: Its name.
        path: Of the file, inside the package.

    Returns:
        Licence (a short name) and holder of the copyright (a text, years left out).
    """
    parts = path.split("/")
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    literals, wildcards = _rules(root / "usr/share/doc" / package / "copyright")
    place, found = max((literals[tail] for tail in tails if tail in literals), default=(-1, UNKNOWN))
    for last, pattern, statement in wildcards:
        if last < place:
            break
        if any(pattern.fullmatch(tail) for tail in tails):
            return statement
    return found


@functools.lru_cache(maxsize=32)
def _rules(path: Path) -> tuple[dict[str, tuple[int, tuple[str, str]]], list[tuple[int, re.Pattern, tuple[str, str]]]]:
    """Sorts patterns, with their paragraphs' places: plain names, and those with wildcards, the last one first."""
    literals, wildcards = {}, []
    for place, (patterns, licence, creator) in enumerate(_paragraphs(path)):
        for pattern in patterns:
            if any(sign in pattern for sign in "*?"):
                wildcards.append((place, re.compile(fnmatch.translate(pattern)), (licence, creator)))
            else:
                literals[pattern] = (place, (licence, creator))
    return literals, wildcards[::-1]


def _paragraphs(path: Path) -> tuple[tuple[tuple[str, ...], str, str], ...]:
    """Reads the paragraphs about files: patterns, licence, creator."""
    if not path.is_file():
        return ()
    found = []
    for paragraph in re.split(r"\n\s*\n", path.read_text(encoding="utf-8", errors="replace")):
        fields: dict[str, list[str]] = {}
        name = None
        for line in paragraph.splitlines():
            match = re.match(r"([A-Za-z-]+):(.*)", line)
            if match:
                name = match.group(1).lower()
                fields[name] = [match.group(2)]
            elif name is not None and line[:1].isspace():
                fields[name].append(line)
        if "files" in fields and "license" in fields:
            creators = [
                re.sub(r"^\s*(\(c\)|©|[\d\s,-])*|\(?<[^>]*>\)?", "", line, flags=re.IGNORECASE).strip(" ,.")
                for line in fields.get("copyright", [])
            ]
            licence = fields["license"][0].strip() or UNKNOWN[0]
            creator = "; ".join(line for line in creators if line)[:200]
            found.append((tuple(" ".join(fields["files"]).replace(",", " ").split()), licence, creator))
    return tuple(found)
