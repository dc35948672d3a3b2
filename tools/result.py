"""What a run tells at its end: result.json, and a line for the log."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pointrecon.tools.checkpoints.snapshot import State
from pointrecon.tools.context import RunContext
from pointrecon.tools.environment import git_commit
from pointrecon.tools.protocol import SELECTIONS, quirks, selecting_split, selection
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks.base import Task

DATA_KEYS = ("type", "fold", "way", "shots", "num_points", "options")  # what says which objects were used


def make_result(
    task: Task, cfg: Settings, ctx: RunContext, *, state: State, metrics: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """What is in result.json: how the number came about, training metrics (`train_...`), then the final ones.

    Args:
        task: what was trained and measured.
        cfg: the whole config.
        ctx: the run's surroundings.
        state: how far the run is.
        metrics: the final ones.
        seconds: of the run.
    """
    select = selection(cfg)
    result = {
        "run": ctx.folder.name,
        "config": config_name(ctx.folder),
        "task": cfg["task"],
        "data": {key: value for key, value in cfg["data"].items() if key in DATA_KEYS},
        "checkpoint": None if task.start is None else task.start.info,
        "commit": git_commit(),
        "protocol": cfg["protocol"],
        "select": select,
        "seed": cfg["seed"],
        "epoch": state.epoch if select == "last" else state.best_metrics.get("epoch", state.epoch),
        "seconds": round(seconds, 1),
        **{f"train_{name}": value for name, value in state.metrics.items()},
        **metrics,
    }
    if select not in SELECTIONS:
        result["select_split"] = selecting_split(cfg)
    if selecting_split(cfg) == "test":
        result["note"] = "the checkpoint was chosen on the test split, as in published practice: this number flatters"
    seen = task.count_seen()
    if seen:
        result["seen_in_training"] = {
            name: {"num_seen": number, "num_objects": total} for name, (number, total) in seen.items()
        }
    unknown = task.list_unknown()
    if unknown:
        result["seen_unknown"] = unknown
    if quirks(cfg):
        result["quirks"] = quirks(cfg)
    return result


def config_name(folder: Path) -> str:
    """The config of a run by the place of its folder: <root>/<config stem>/<config parent>/<run>."""
    return f"{folder.parent.name}/{folder.parent.parent.name}.yaml"


def only_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """What of the metrics a curve can show."""
    return {name: value for name, value in metrics.items() if isinstance(value, (int, float))}


def describe_metrics(metrics: Mapping[str, Any]) -> str:
    """The accuracies, for the log, each with its interval if there is one."""
    shown = []
    for name, value in metrics.items():
        if isinstance(value, float):
            interval = metrics.get(f"{name}_interval")
            spread = f" (95 %: {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
            shown.append(f"{name} {value:.4f}{spread}")
    return f"test: {'  '.join(shown)}  " if shown else "done "
