"""Which files a folder holds, and what is known of each: class, words, split."""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pointrecon.datasets.folder.reading import SUFFIXES
from pointrecon.utils.errors import InputError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
TABLES = ("shapes.csv", "labels.csv", "index.csv")  # in the folder itself, in order of choice
HIDDEN = (".", "__MACOSX")


@dataclass(frozen=True)
class FileItem:
    """One file of a user's folder.

    Attributes:
        path: Where it is.
        id: Path below the folder, with '/'.
        label: Name of its class; None: it has none.
        text: Words for it.
        split: train, val or test where the folder or the table says so.
    """

    path: Path
    id: str
    label: str | None
    text: str
    split: str | None = None


def list_files(root: str | Path) -> list[FileItem]:
    """Lists a folder, or a table of files.

    Args:
        root: A folder with a sub-folder for each class (files directly in it have no class; `train`, `val` and `test`
            sub-folders on the way say the split), or with a table among `TABLES`; or a CSV file itself. A table has the
            columns path, label, text and split, of which only path is needed; paths are relative to it.

    Returns:
        The items by id.

    Raises:
        InputError: There is no such folder, it holds no file with a known suffix, or the table is at fault.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise InputError(
            f"'{root}' is not there; give a folder of meshes or point clouds, or a CSV file that lists them"
        )
    if root.is_file():
        return _read_table(root)
    table = next((root / name for name in TABLES if (root / name).is_file()), None)
    if table is not None:
        return _read_table(table)
    items = [_item_of(path, root) for path in _walk(root)]
    if not items:
        raise InputError(f"'{root}' holds no file that can be read; readable are: {' '.join(SUFFIXES)}")
    return sorted(items, key=lambda item: item.id)


def words_of(stem: str) -> str:
    """The words of a file's name; an empty text where it is a number or a code."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem)
    words = [word for word in re.split(r"[\W_]+", spaced) if len(word) > 1 and word.isalpha()]
    return " ".join(words).lower()


def _walk(root: Path) -> Iterator[Path]:
    """Files with a known suffix; links are followed, but no folder is entered twice."""
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        for name in sorted(files):
            if not name.startswith(HIDDEN) and Path(name).suffix.lower() in SUFFIXES:
                yield Path(folder) / name


def _item_of(path: Path, root: Path) -> FileItem:
    relative = path.relative_to(root)
    parts = list(relative.parts[:-1])
    split = next((SPLIT_NAMES[part.lower()] for part in parts if part.lower() in SPLIT_NAMES), None)
    parts = [part for part in parts if part.lower() not in SPLIT_NAMES]
    label = parts[0] if parts else None
    return FileItem(path, relative.as_posix(), label, _text_of(path.stem, label), split)


def _text_of(stem: str, label: str | None) -> str:
    words = words_of(stem)
    name = words_of(label or "") or (label or "")
    if not words or words == name:
        return name or words or stem
    return words


def _read_table(path: Path) -> list[FileItem]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = [name.strip().lower() for name in reader.fieldnames or ()]
            rows = [
                {key: (value or "").strip() for key, value in zip(names, row.values(), strict=False)} for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{path}' cannot be read as a CSV table ({error})") from error
    if "path" not in names:
        raise InputError(
            f"'{path}' has the columns {', '.join(names) or 'none'}, but needs 'path' (label, text, split)"
        )
    items: dict[str, FileItem] = {}
    for number, row in enumerate(rows, start=2):
        split = row.get("split") or None
        if split is not None and split.lower() not in SPLIT_NAMES:
            raise InputError(f"'{path}' line {number}: split is '{split}', but must be train, val or test")
        name, label = row["path"], row.get("label") or None
        if not name:
            raise InputError(f"'{path}' line {number} names no file")
        item = FileItem(
            path.parent / name,
            Path(name).as_posix(),
            label,
            row.get("text") or _text_of(Path(name).stem, label),
            SPLIT_NAMES[split.lower()] if split else None,
        )
        old = items.setdefault(item.id, item)
        if old != item:
            raise InputError(f"'{path}' line {number}: '{name}' is listed twice, as '{old.label}' and as '{label}'")
    if not items:
        raise InputError(f"'{path}' lists no file")
    return sorted(items.values(), key=lambda item: item.id)
