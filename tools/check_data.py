"""What `python main.py --check-data` says: which data sets are on this machine, whole or not, and where to get them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pointrecon.datasets import DATASETS
from pointrecon.datasets.survey import Survey
from pointrecon.utils.config import SCHEMA_FOLDER, load_config
from pointrecon.utils.errors import InputError

_INDENT = " " * 13


def describe(config: str | None, overrides: Sequence[str]) -> str:
    """Surveys the data root that a config and its overrides name.

    Args:
        config: YAML file; None: the defaults.
        overrides: Texts `key=value`; `data_root=PATH` is the one that matters.

    Returns:
        A few lines for each data set that can be surveyed, and a summary.

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
        survey = getattr(DATASETS.get(name), "survey", None)
        # Classes that share their files may share a survey.
        surveys |= {item.name: item for item in (survey(root) if survey else ())}
    return list(surveys.values())


def format_surveys(root: str, surveys: Iterable[Survey]) -> str:
    """Writes surveys as text, without a line end after the last line."""
    surveys = list(surveys)
    lines = [f"data sets in '{Path(root).resolve()}'"]
    for item in surveys:
        lines += [
            "",
            f"{item.status:<13}{item.name}: {item.found:,} of {item.expected:,} objects",
            f"{_INDENT}folder:  {item.folder}",
            f"{_INDENT}from:    {item.source}",
            f"{_INDENT}terms:   {item.terms}",
        ]
        if item.problem is not None:
            lines.insert(-2, f"{_INDENT}problem: {' '.join(item.problem.split())}")
    counts = [sum(item.status == status for item in surveys) for status in ("complete", "incomplete", "not found")]
    lines += ["", "{} complete, {} incomplete, {} not found".format(*counts)]
    return "\n".join(lines)
