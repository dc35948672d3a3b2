"""Which files a folder holds, and what is known of each: class, words, split."""

import csv
import io
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pointrecon.datasets.folder.reading import SUFFIXES
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, check_file

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
COLUMNS = ("path", "label", "text", "split")
MAX_TABLE = 256 << 20  # bytes of a table
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


def list_files(root: str | Path, table: str | Path | None = None) -> list[FileItem]:
    """Lists a folder, or a table of files.

    Args:
        root: A folder with a sub-folder for each class (files directly in it have no class; `train`, `val` and `test`
            sub-folders on the way say the split), or with a table among `TABLES`; or a CSV file itself. A table has the
            columns path, label, text and split, of which only path is needed; paths are relative to it.
        table: A table that lies elsewhere and counts instead of what the folder says; its paths are relative to `root`.

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
    if not root.is_dir():
        return _read_table(root, root.parent)
    table = table or find_table(root)
    if table is not None:
        return _read_table(Path(table).expanduser(), root)
    items = [_item_of(path, root) for path in _walk(root)]
    if not items:
        raise InputError(f"'{root}' holds no file that can be read; readable are: {' '.join(SUFFIXES)}")
    return sorted(items, key=lambda item: item.id)


def find_table(root: Path) -> Path | None:
    """The table in a folder that says what is in it; None if there is none."""
    return next((root / name for name in TABLES if (root / name).is_file()), None)


def write_table(items: Sequence[FileItem], path: Path) -> None:
    """Writes a table that `list_files` reads and people can edit, whole or not at all.

    Raises:
        InputError: It cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([item.id, item.label or "", item.text, item.split or ""] for item in items)
    with atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


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


def _read_table(path: Path, base: Path) -> list[FileItem]:
    names, rows = _read_rows(path)
    if "path" not in names:
        raise InputError(
            f"'{path}' has the columns {', '.join(names) or 'none'}, but needs 'path' (label, text, split)"
        )
    twice = [name for name in COLUMNS if names.count(name) > 1]
    if twice:
        raise InputError(f"'{path}' has the column '{twice[0]}' {names.count(twice[0])} times; leave one of them")
    items: dict[str, FileItem] = {}
    for number, row in rows:
        split = row.get("split") or None
        if split is not None and split.lower() not in SPLIT_NAMES:
            raise InputError(f"'{path}' line {number}: split is '{split}', but must be train, val or test")
        name, label = row.get("path", ""), row.get("label") or None
        if not name or "\0" in name:
            raise InputError(f"'{path}' line {number} names no file")
        item = FileItem(
            base / name,
            posixpath.normpath(Path(name).as_posix()),
            label,
            row.get("text") or _text_of(Path(name).stem, label),
            SPLIT_NAMES[split.lower()] if split else None,
        )
        old = items.setdefault(item.id, item)
        if (old.label, old.text, old.split) != (item.label, item.text, item.split):
            raise InputError(f"'{path}' line {number}: '{name}' is listed twice, as '{old.label}' and as '{label}'")
    if not items:
        raise InputError(f"'{path}' lists no file")
    return sorted(items.values(), key=lambda item: item.id)


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names, and (line, row by column); empty lines are left out. Commas, semicolons or tabs stand between."""
    try:
        check_file(path, "table of files")
        if path.stat().st_size > MAX_TABLE:
            raise InputError(f"'{path}' has over {MAX_TABLE >> 20} MB, which is no table of files")
        text = path.read_text(encoding="utf-8-sig")
        head = text.partition("\n")[0]
        delimiter = max(",;\t", key=head.count) if "," not in head else ","
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        names = [name.strip().lower() for name in next(reader, [])]
        rows = []
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells[len(names) :]):
                raise InputError(
                    f"'{path}' line {reader.line_num} has {len(cells)} cells, but there are {len(names)} columns; put "
                    f"a text with '{delimiter}' in it in quotes"
                )
            if any(cells):
                rows.append((reader.line_num, dict(zip(names, cells, strict=False))))
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' is no UTF-8 text ({error.reason}); save the table as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"'{path}' cannot be read as a CSV table ({error})") from error
    return names, rows
