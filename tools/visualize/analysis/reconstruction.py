"""How well each network rebuilds hidden patches, of objects that it was trained on and of others.

Shape legend: n objects, N points, M masked patches, K points per patch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointrecon.extensions import ops
from pointrecon.models.patches.masking import take_groups
from pointrecon.tools.visualize.analysis.panels import Line, Panel, draw
from pointrecon.tools.visualize.analysis.subjects import HELD_OUT, TRAINED, Subject, clouds, log
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import generator

BATCH = 32
WORDS = {TRAINED: "trained on", HELD_OUT: "held out"}
SCALE = 1000  # squared distances in a unit sphere are small


def measure(
    subjects: Sequence[Subject], *, count: int = 128, splits: Sequence[str] = (TRAINED, HELD_OUT)
) -> dict[str, Any]:
    """Squared Chamfer distance of hidden patches x 1000, a number an object, with the same masks for all.

    Args:
        subjects: those that never learnt to reconstruct are left out, which the log says.
        count: objects of each split at most.
        splits: whose objects.

    Returns:
        `networks`: by network and split `mean`, `low`, `high` (95 %, over objects), `num_objects` and `difference`, the
        same three of its errors minus those of the first network, object by object; `guess`: by split the mean for
        patches all of whose points lie at their centre.

    Raises:
        InputError: no network has learnt to reconstruct.
    """
    found: dict[str, Any] = {}
    guesses: dict[str, float] = {}
    first: dict[str, np.ndarray] = {}
    for subject in subjects:
        if subject.is_random or not subject.rebuilds:
            log.warning(f"reconstruction: {subject.name} is left out, since it was not trained to reconstruct")
            continue
        for split in splits:
            errors, guess = errors_of(subject.network, clouds(subject, split, count)[1])
            difference = _interval(errors - first.setdefault(split, errors))
            item = {**_interval(errors), "num_objects": len(errors), "difference": difference}
            found.setdefault(subject.name, {})[split] = item
            guesses[split] = float(guess.mean())
    if not found:
        raise InputError("none of the networks was trained to reconstruct; give one that was")
    return {"networks": found, "guess": guesses}


def _interval(values: np.ndarray) -> dict[str, float]:
    half = 1.96 * values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return {"mean": float(values.mean()), "low": float(values.mean() - half), "high": float(values.mean() + half)}


@torch.inference_mode()
def errors_of(network: Any, points: Tensor, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, N, 3) -> (n,) error of each object, and (n,) that of points which all lie at the centre of their patch."""
    errors: list[float] = []
    guesses: list[float] = []
    draw_masks = generator("cpu", seed)
    for part in points.split(BATCH):
        split = network.draw_split(network.encoder.group(part)[1], draw_masks)
        patches, _, split, rebuilt = network.reconstruct(part, split)
        hidden = take_groups(patches, split.masked)
        for made, results in ((rebuilt, errors), (torch.zeros_like(hidden), guesses)):
            results += [SCALE * float(ops.chamfer_distance(a, b)) for a, b in zip(made, hidden, strict=True)]
    return np.array(errors), np.array(guesses)


def draw_reconstruction(found: Mapping[str, Any], target: Path, *, has_title: bool = True) -> Path:
    """A panel for each split, and the differences from the first network for the last split."""
    names = list(found["networks"])
    panels = []
    label = f"squared Chamfer distance x {SCALE}"
    for split in found["guess"]:
        items = [found["networks"][name][split] for name in names]
        title = f"objects {WORDS.get(split, split)} ({items[0]['num_objects']})"
        panels.append(Panel(title, _marks(names, items), "", label, ticks=names))
    items = [item["difference"] for item in items]
    if len(names) > 1:
        title = f"minus {names[0]}, {WORDS.get(split, split)}"
        panels.append(Panel(title, _marks(names, items), "", "difference", ticks=names, level=(0.0, "")))
    guess = ", ".join(f"{value:.1f} ({WORDS.get(split, split)})" for split, value in found["guess"].items())
    subtitle = f"of hidden patches, mean over objects with 95 % interval; all points at the centre of a patch: {guess}"
    return draw(target, panels, title="Reconstruction error", subtitle=subtitle, has_title=has_title)


def _marks(names: Sequence[str], items: Sequence[Mapping[str, float]]) -> list[Line]:
    return [
        Line(name, [place], [item["mean"]], [item["low"]], [item["high"]])
        for place, (name, item) in enumerate(zip(names, items, strict=True))
    ]
