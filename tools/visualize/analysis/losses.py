"""Training and held-out loss over epochs: over-fitting shows where the two part."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pointrecon.tools.visualize.analysis.panels import Line, Panel, draw
from pointrecon.tools.visualize.analysis.subjects import HELD_OUT, TRAINED, Shown, Subject, batches, epoch_of, snapshots
from pointrecon.tools.visualize.curves import NAMES
from pointrecon.tools.visualize.files import read_metrics
from pointrecon.utils.seed import generator

SPLITS = {TRAINED: "train", HELD_OUT: "held_out"}


def measure(subjects: Sequence[Subject], *, count: int = 64, batch_size: int = 64, draws: int = 4) -> dict[str, Any]:
    """Loss terms of each checkpoint on objects that were trained on and on others, without augmentation or dropout.

    Losses that compare the objects of a batch depend on how many there are, so both parts have batches of one size.

    Args:
        subjects: at each epoch of which their folder has a checkpoint (`keep_epochs`).
        count: objects of each part at most.
        batch_size: at most; no more than the smaller part has objects.
        draws: times that each object is shown, with other masks, views and prompts.

    Returns:
        By network `epochs`, `train` and `held_out` (by term, one a checkpoint), and `course` (by term, the training
        loss of each epoch with `epoch`, from metrics.jsonl; empty without that file).
    """
    found = {}
    for subject in subjects:
        held_out = list(batches(subject, HELD_OUT, count=count, batch_size=batch_size, draws=draws))
        size = len(held_out[0].points)
        parts = {
            TRAINED: list(batches(subject, TRAINED, count=count, batch_size=size, draws=draws)),
            HELD_OUT: held_out,
        }
        stages = snapshots(subject)
        item: dict[str, Any] = {"epochs": [epoch_of(stage) for stage in stages], "batch_size": size}
        for split, shown in parts.items():
            terms = [loss_terms(stage.network, shown) for stage in stages]
            item[SPLITS[split]] = {name: [term[name] for term in terms] for name in terms[0]}
        found[subject.name] = {**item, "course": _course(subject.path.parent / "metrics.jsonl", list(item["train"]))}
    return found


@torch.inference_mode()
def loss_terms(network: Any, shown: Sequence[Shown]) -> dict[str, float]:
    """The mean of each weighted loss term over batches; terms of weight 0 are left out."""
    sums: dict[str, float] = {}
    for number, batch in enumerate(shown):
        draw_masks = generator("cpu", number)
        terms = network(batch.points, batch.targets, labels=batch.labels, generator=draw_masks)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float(value) / len(shown)
    return {name: value for name, value in sums.items() if value != 0}


def _course(path: Path, terms: Sequence[str]) -> dict[str, list[float]]:
    if not path.is_file():
        return {}
    records = [record for record in read_metrics(path) if record["split"] == "train"]
    return {name: [float(record.get(name, math.nan)) for record in records] for name in ("epoch", *terms)}


def draw_losses(found: Mapping[str, Any], target: Path, *, has_title: bool = True) -> Path:
    """A panel for each term: trained on solid, held out dashed, one mark a checkpoint."""
    terms = list(dict.fromkeys(term for item in found.values() for term in item["train"]))
    panels = []
    for term in terms:
        lines = [
            Line(name, item["epochs"], item[part][term], is_dashed=part == "held_out")
            for name, item in found.items()
            if term in item["train"]
            for part in ("train", "held_out")
        ]
        lines += [
            Line(name, item["course"]["epoch"], item["course"][term], is_thin=True)
            for name, item in found.items()
            if term in item["course"]
        ]
        panels.append(Panel(NAMES.get(term, term), lines, "epoch", "loss", is_log=term == "chamfer"))
    size = next(iter(found.values()))["batch_size"]
    subtitle = f"marks: without augmentation and dropout, {size} objects in a batch; thin: mean of each training epoch"
    look: Any = {"dashed": ("objects trained on", "held out"), "names": list(found), "has_title": has_title}
    return draw(target, panels, title="Training and held-out loss", subtitle=subtitle, **look)
