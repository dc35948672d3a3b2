"""What a folder of shapes holds, which way is up, and a table with splits that people can edit."""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pointrecon.datasets.folder.folder import AUTO, Folder
from pointrecon.datasets.folder.listing import TABLES, find_table, write_table
from pointrecon.datasets.meshes.duplicates import NUM_POINTS
from pointrecon.tools.prepare.sheet import draw_folder
from pointrecon.tools.prepare.splits import Split, group_copies, make_split
from pointrecon.utils.errors import InputError

SHEET = "sheet.png"
SURE, LIKELY = 0.9, 0.7  # confidence from which on a guess is called so
MAX_SHOWN = 10


@dataclass(frozen=True)
class FolderOptions:
    """What is asked for.

    Attributes:
        root: The folder, or a CSV file.
        up: The axis that is up, or auto.
        table: A table elsewhere that counts instead of what the folder says.
        out: The table with splits; None: `<root>/shapes.csv`.
        sheet: The contact sheet; None: `sheet.png` beside the clouds.
        is_split: Whether a split is drawn and the table written.
        test: Share of each class that is for testing.
        val: Share for validation.
        seed: Of the split.
        overwrite: Whether a table that is there may be replaced.
        jobs: Processes that read files; None: one for each core.
        time_limit: Seconds for one file.
    """

    root: Path
    up: str = AUTO
    table: str | None = None
    out: Path | None = None
    sheet: Path | None = None
    is_split: bool = False
    test: float = 0.2
    val: float = 0.0
    seed: int = 0
    overwrite: bool = False
    jobs: int | None = None
    time_limit: float = 120.0


def prepare_folder(options: FolderOptions) -> tuple[Folder, list[str]]:
    """Reads a folder, draws its contact sheet and, if asked for, writes a table with splits.

    Returns:
        The data set, and the lines of the report.

    Raises:
        InputError: Nothing can be read, or something cannot be written.
    """
    table = table_path(options) if options.is_split else None
    data = open_folder(options)
    lines = [*describe(data), describe_up(data, options)]
    sheet = options.sheet or data.cache_folder / SHEET
    draw_folder(data, sheet, f"{options.root.name}: {lines[-1]}")
    lines.append(f"contact sheet: {sheet}")
    if table is not None:
        split = split_folder(data, options)
        write_split(data, split, table)
        lines += [*describe_split(data, split), f"table: {table} (edit it; it is read when the folder is opened)"]
    return data, lines


def open_folder(options: FolderOptions) -> Folder:
    """The data set of the options."""
    return Folder(
        str(options.root), up=options.up, table=options.table, jobs=options.jobs, time_limit=options.time_limit
    )


def table_path(options: FolderOptions) -> Path:
    """Where the table with splits goes.

    Raises:
        InputError: It is there already, or cannot be written.
    """
    root = options.root.expanduser()
    there = find_table(root) if root.is_dir() else root
    path = options.out or there or root / TABLES[0]
    if path.exists() and not options.overwrite:
        raise InputError(f"'{path}' is there already; edit it, give another --out, or --overwrite to replace it")
    folder = path.absolute().parent
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise InputError(f"'{folder}' cannot be written; give --out FILE elsewhere and read it with data.options.table")
    return path


def split_folder(data: Folder, options: FolderOptions) -> Split:
    """Draws the split of a folder without near copies on both sides."""
    points = np.stack([data[row]["points"][:NUM_POINTS].numpy() for row in range(len(data))])
    shares = {"test": options.test, "val": options.val, "seed": options.seed}
    return make_split(data.labels.numpy(), group_copies(points), data.class_names, **shares)  # type: ignore[arg-type]


def write_split(data: Folder, split: Split, path: Path) -> None:
    """Writes the table of a folder with a split; paths are relative to the folder."""
    items = [replace(item, split=str(name)) for item, name in zip(data.items, split.names, strict=True)]
    write_table(items, path)


def describe(data: Folder) -> list[str]:
    """Counts of a folder, and what was skipped."""
    counts = Counter(data.labels.tolist())
    suffixes = Counter(item.path.suffix.lower() for item in data.items)
    kinds = ", ".join(f"{suffix} {count}" for suffix, count in suffixes.most_common())
    lines = [f"{len(data)} shapes ({kinds}) of {data.num_classes} classes; {len(data.skipped)} files skipped"]
    shown = sorted(range(data.num_classes), key=lambda label: -counts[label])
    if shown:
        lines.append("classes: " + ", ".join(f"{data.class_names[label]} {counts[label]}" for label in shown))
    if counts[-1]:
        lines.append(f"without a class: {counts[-1]}")
    if int(data.has_colors.sum()):
        lines.append(f"with colours: {int(data.has_colors.sum())}")
    lines += [f"skipped {name}: {why}" for name, why in list(data.skipped.items())[:MAX_SHOWN]]
    if len(data.skipped) > MAX_SHOWN:
        lines.append(f"and {len(data.skipped) - MAX_SHOWN} more: {data.cache_folder / 'skipped.txt'}")
    return lines


def describe_up(data: Folder, options: FolderOptions) -> str:
    """Which axis is up, and how sure that is."""
    if options.up != AUTO or data.guess is None:
        return f"up is {options.up}, as given"
    confidence = data.guess.confidence
    level = "sure" if confidence >= SURE else "likely" if confidence >= LIKELY else "NOT sure"
    return f"{data.guess}: {level}; look at the sheet, and give --up (data.options.up) if it is wrong"


def describe_split(data: Folder, split: Split) -> list[str]:
    """Counts of a split, and what is odd about it."""
    counts = Counter(split.names.tolist())
    lines = ["split: " + ", ".join(f"{name} {counts[name]}" for name in ("train", "val", "test") if counts[name])]
    if split.num_copies:
        lines.append(f"{split.num_copies} near copies of other shapes, each on the side of what it repeats")
    for one, other in split.conflicts[:MAX_SHOWN]:
        labels = [data.class_names[int(data.labels[row])] for row in (one, other)]
        lines.append(
            f"'{data.ids[one]}' ({labels[0]}) and '{data.ids[other]}' ({labels[1]}) are near copies; one label is wrong"
        )
    if split.untested:
        lines.append(f"nothing to test of: {', '.join(split.untested)} (one shape, or copies of one)")
    return lines
