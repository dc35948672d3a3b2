"""What a run tells at its end: result.json, and a line for the log."""

from collections.abc import Mapping
from typing import Any

from pointrecon.tools.checkpoints.snapshot import State
from pointrecon.tools.protocol import SELECTIONS, quirks, selecting_split, selection
from pointrecon.tools.settings import Settings


def make_result(cfg: Settings, state: State, metrics: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What is in result.json: how the number came about, training metrics (`train_...`), then the final ones."""
    select = selection(cfg)
    result = {
        "task": cfg["task"],
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
    if quirks(cfg):
        result["quirks"] = quirks(cfg)
    return result


def only_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """What of the metrics a curve can show."""
    return {name: value for name, value in metrics.items() if isinstance(value, (int, float))}


def describe_metrics(metrics: Mapping[str, Any]) -> str:
    """The accuracies, for the log."""
    shown = [f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, float)]
    return f"test: {'  '.join(shown)}  " if shown else "done "
