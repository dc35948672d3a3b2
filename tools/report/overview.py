"""What the runs are: how far each is, what it came to, what differs between them, and the whole config of each."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from pointrecon.tools.report.page import Page, details, note, percent, table, text
from pointrecon.tools.report.runs import VOLATILE, Run, shares
from pointrecon.tools.sweeps.summary import wilson
from pointrecon.utils.config import to_plain


def add_overview(page: Page, groups: Mapping[str, Sequence[Run]]) -> None:
    """The section of runs and results."""
    runs = [run for members in groups.values() for run in members]
    rows = [
        (
            run.name,
            run.config.get("task", "?"),
            run.config.get("data", {}).get("type", "?"),
            run.seed,
            describe_state(run),
            str(run.folder),
        )
        for run in runs
    ]
    parts = [table(("run", "task", "data", "seed", "state", "folder"), rows, f"The {len(runs)} runs of this report")]
    for run in runs:
        parts += [note(f"{run.name}: {words}") for words in run.notes]
        if run.result and run.result.get("note"):
            parts.append(note(f"{run.name}: {run.result['note']}"))
    results = [
        (run.name, name.replace("_", " "), percent(value), _interval(run.result, name))
        for run in runs
        for name, value in shares(run.result).items()
    ]
    if results:
        head = ("run", "measure", "result", "95 % interval over objects")
        parts.append(table(head, results, "Results of the final evaluation"))
    page.add("runs", "Runs and results", "".join(parts))


def describe_state(run: Run) -> str:
    """How far a run is."""
    done, planned = run.epochs
    if run.result is not None:
        return f"finished after {run.result['seconds']:.0f} s" if "seconds" in run.result else "finished"
    return f"epoch {done} of {planned}" if planned else "has no result"


def add_configuration(page: Page, groups: Mapping[str, Sequence[Run]]) -> None:
    """The section of configs: what differs, then all of each."""
    runs = [run for members in groups.values() for run in members if run.config]
    if not runs:
        page.add("configuration", "Configuration", note("No run has a config.yaml."))
        return
    parts = []
    if len(runs) > 1:
        differing = find_differences(runs)
        if differing:
            rows = [(key, *map(_value, values)) for key, values in differing.items()]
            caption = f"The {len(differing)} settings that differ between the runs"
            parts.append(table(("setting", *(run.name for run in runs)), rows, caption))
        else:
            parts.append(note("The settings of all runs are the same, but for the seed and where they ran."))
    for run in runs:
        inside = yaml.safe_dump(to_plain(run.config), sort_keys=False, allow_unicode=True)
        words = f'<pre tabindex="0" aria-label="Config of {text(run.name)}">{text(inside)}</pre>'
        parts.append(details(f"The whole config of {run.name}", words))
    page.add("configuration", "Configuration", "".join(parts))


def find_differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Dotted key -> its value in each run, of keys that differ; the seed is told, places and the like are not."""
    keys = list(dict.fromkeys(key for run in runs for key in run.flat))
    found = {key: [run.flat.get(key) for run in runs] for key in keys if key == "seed" or key not in VOLATILE}
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}


def _interval(result: Mapping[str, Any] | None, name: str) -> str:
    """The interval that a result has, or that follows from its number of objects; none for other measures."""
    found = (result or {}).get(f"{name}_interval")
    count = (result or {}).get(name.replace("accuracy", "num_objects"))
    if isinstance(found, list) and len(found) == 2 and all(map(_is_number, found)):
        low, high = found
    elif name.endswith("accuracy") and "mean_class" not in name and isinstance(count, int) and 0 < count < 2**63:
        low, high = wilson(shares(result)[name], count)
    else:
        return ""
    return f"{percent(low)} to {percent(high)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < math.inf and abs(value) < 2**63


def _value(value: Any) -> str:
    return "" if value is None or value == {} else str(value)
