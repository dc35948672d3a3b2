"""What `python main.py --check-data` says: which data sets are on this machine, whole or not, and where to get them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.survey import MAX_NAMES, THERE, Entry, Survey
from pointrecon.utils.config import SCHEMA_FOLDER, load_config
from pointrecon.utils.errors import InputError

_INDENT = " " * 13


def describe(config: str | None, overrides: Sequence[str]) -> str:
    """Surveys the data root that a config and its overrides name.

    Args:
        config: YAML file; None: the defaults.
        overrides: Texts `key=value`; `data_root=PATH` is the one that matters.

    Returns:
        For each data set that can be surveyed its state, why it is not complete and all its files; and a summary.

    Raises:
        InputError: The data root is no folder.
    """
    root = load_config(config or SCHEMA_FOLDER / "run.yaml", overrides).data_root
    if not Path(root).is_dir():
        raise InputError(f"data_root is '{root}', which is no folder; give data_root=PATH, the folder of the data sets")
    return format_surveys(root, survey_all(root))


def survey_all(root: str) -> list[Survey]:
    """Returns the state of every registered data set that can tell it, in the order of their names."""
    surveys: dict[str, Survey] = {}
    for name in DATASETS.names():
        kind = DATASETS.get(name)
        if isinstance(kind, type) and issubclass(kind, PointCloudDataset):
            # Classes that share their files may share a survey.
            surveys |= {item.name: item for item in kind.survey(root)}
    return list(surveys.values())


def format_surveys(root: str, surveys: Iterable[Survey]) -> str:
    """Writes surveys as text, without a line end after the last line."""
    surveys = list(surveys)
    lines = [f"data sets in '{Path(root).resolve()}'"]
    for item in surveys:
        lines += [
            "",
            f"{item.status:<13}{item.name}: {item.found:,} of {item.expected:,} {item.unit}",
            f"{_INDENT}folder:  {item.folder}",
            *(_line("why" if number == 0 else "", reason) for number, reason in enumerate(item.reasons)),
            f"{_INDENT}from:    {item.source}",
            f"{_INDENT}terms:   {item.terms}",
            *(line for entry in item.tree for line in _format_entry(entry)),
        ]
    counts = [sum(item.status == status for item in surveys) for status in ("complete", "incomplete", "not found")]
    lines += ["", "{} complete, {} incomplete, {} not found".format(*counts)]
    return "\n".join(lines)


def _line(title: str, text: str) -> str:
    title = f"{title}:" if title else ""
    return f"{_INDENT}{title:<9}{' '.join(text.split())}"


def _format_entry(entry: Entry) -> Iterator[str]:
    """A file of a data set: its state, its name, what is known of it; below it what is missing of many."""
    aside = "" if entry.is_needed or entry.state == THERE else ", not needed"
    note = f" ({entry.note}{aside})" if entry.note else aside
    yield f"{_INDENT}  {entry.state:<8} {entry.name}{note}"
    for fault in entry.lacking[:MAX_NAMES]:
        yield f"{_INDENT}             {' '.join(fault.split())}"
    if len(entry.lacking) > MAX_NAMES:
        yield f"{_INDENT}             and {len(entry.lacking) - MAX_NAMES:,} more"
