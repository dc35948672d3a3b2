"""What several runs of the fuzzer found, in one file."""

from typing import Any

from pointrecon.utils.errors import InputError


def add_results(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Joins what several runs found: the targets of both; of a target that both have the sums.

    Args:
        old: From a file; what it says of its runs is kept under `runs`.
        new: As `fuzz` gives it.

    Raises:
        InputError: Cases would be counted twice: those of a target in both must have another seed or follow on.
    """
    runs = list(old.get("runs", []))
    for target, item in new["targets"].items():
        for run in runs:
            first, last = run["first"], run["first"] + run["cases"]
            is_same = run["target"] == target and run["seed"] == new["seed"]
            if is_same and new["start"] < last and first < new["start"] + item["cases"]:
                raise InputError(
                    f"cases {first:,} to {last - 1:,} of '{target}' are in this file already; use --start {last} or "
                    "another --seed"
                )
        git, time_now = (new["environment"][key] for key in ("git", "time"))
        run = {"target": target, "seed": new["seed"], "first": new["start"], "cases": item["cases"]}
        runs.append(run | {"time": time_now, "commit": git and git["commit"], "is_changed": git and git["is_changed"]})
    targets = dict(old.get("targets", {}))
    for target, item in new["targets"].items():
        targets[target] = _add(targets[target], item) if target in targets else item
    totals = {key: sum(item[key] for item in targets.values()) for key in ("cases", "findings")}
    return {"environment": new["environment"], **totals, "runs": runs, "targets": targets}


def _add(old: Any, new: Any) -> Any:
    """Sums of numbers, however deep in dictionaries; lists one after the other."""
    if isinstance(old, dict):
        return {**old, **new, **{key: _add(old[key], new[key]) for key in old.keys() & new.keys()}}
    return round(old + new, 1) if isinstance(old, float) else old + new
