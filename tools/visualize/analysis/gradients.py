"""Gradient conflict: do reconstruction and contrast pull the weights that they share the same way (Yu et al., 2020)?

Measured on the gradient of each loss, with its weight, before the optimizer; batch-norms and masks as in training.
With a stop-gradient the contrast has no gradient in the patch stream. What is shown for such networks is what it would
have without the stop, and `passed` says what share of it training let through.
Shape legend: L layers, S batches.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointrecon.tools.visualize.analysis.panels import Line, Panel, draw
from pointrecon.tools.visualize.analysis.subjects import TRAINED, Shown, Subject, batches, epoch_of, log, snapshots
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import generator

NOT_SHARED = ("contrast", "query_", "cls_")
PATCHES, POSITIONS, NORM = "patches", "positions", "norm"


def measure(
    subjects: Sequence[Subject], *, num_batches: int = 8, batch_size: int | None = None, split: str = TRAINED
) -> dict[str, Any]:
    """Cosines between the gradients of reconstruction and contrast, by layer, at each epoch that has a checkpoint.

    Args:
        subjects: those without one of the losses are left out, which the log says.
        num_batches: S, batches of augmented objects.
        batch_size: objects of each; None: as in training.
        split: whose objects.

    Returns:
        By network `layers` (their names), `epochs`, and, with an axis of epochs in front, `cosine` and `ratio` (layers;
        the mean over batches, and the gradient of the contrast over that of reconstruction in length, as the median),
        `low` and `high` (ends of the 95 % interval of `cosine`), `all` (cosine over all shared weights) and `conflicts`
        (share of the batches in which that is negative); `passed`.

    Raises:
        InputError: no network has both losses.
    """
    found = {}
    for subject in subjects:
        if not (subject.rebuilds and subject.contrasts):
            log.warning(f"gradients: {subject.name} is left out, since it was trained with one of the losses only")
            continue
        size = batch_size or subject.config["batch_size"]
        shown = list(batches(subject, split, count=num_batches * size, batch_size=size, is_varied=True))
        stages = snapshots(subject)
        items = [_summarise([conflict(stage.network, batch, seed) for seed, batch in enumerate(shown)])
                 for stage in stages]  # fmt: skip
        found[subject.name] = {
            "passed": 1.0 - float(getattr(subject.network.encoder, "stop_grad", 0.0)),
            "epochs": [epoch_of(stage) for stage in stages],
            "num_batches": len(shown),
            "layers": items[-1]["layers"],
            **{key: np.stack([item[key] for item in items]) for key in items[0] if key != "layers"},
        }
    if not found:
        raise InputError("none of the networks was trained with both reconstruction and contrast; give one that was")
    return found


def conflict(network: Any, shown: Shown, seed: int = 0) -> dict[str, tuple[float, float, float]]:
    """Inner product and both squared lengths of the two gradients, by layer of the patch stream, on one batch.

    Args:
        network: of a pretraining; its weights and statistics stay as they are.
        shown: the batch.
        seed: draws the masks.
    """
    encoder = network.encoder
    stopped, statistics = getattr(encoder, "stop_grad", None), {k: x.clone() for k, x in network.named_buffers()}
    groups = shared_weights(network)
    network.train().requires_grad_(True)
    encoder.stop_grad = False
    try:
        terms = network(shown.points, shown.targets, labels=shown.labels, generator=generator("cpu", seed))
        rebuilt = terms.pop("chamfer")
        weights = [weight for group in groups.values() for weight in group]
        one = _gradients(rebuilt, weights)
        other = _gradients(torch.stack([*terms.values()]).sum(), weights)
    finally:
        encoder.stop_grad = stopped
        network.eval().requires_grad_(False)
        for name, buffer in network.named_buffers():
            buffer.copy_(statistics[name])
    found: dict[str, tuple[float, float, float]] = {}
    start = 0
    for name, group in groups.items():
        here = slice(start, start + len(group))
        found[name] = (_dot(one[here], other[here]), _dot(one[here], one[here]), _dot(other[here], other[here]))
        start += len(group)
    return found


def _dot(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    return float(sum((a.double() * b.double()).sum() for a, b in zip(one, other, strict=True)))


def shared_weights(network: Any) -> dict[str, list[Tensor]]:
    """The weights of the patch stream by layer: patch embedding, positions, blocks from 1, final norm."""
    groups: dict[str, list[Tensor]] = {}
    for name, weight in network.encoder.named_parameters():
        first, second = [*name.split("."), ""][:2]
        if any(word in name for word in NOT_SHARED):
            continue
        known = {
            "patch_embed": PATCHES,
            "pos_embed": POSITIONS,
            "blocks": str(int(second) + 1) if second.isdigit() else second,
        }
        groups.setdefault(known.get(first, first), []).append(weight)
    return groups


def cosine(product: float, one: float, other: float) -> float:
    """From an inner product and two squared lengths; NaN if one of them is 0."""
    return product / (one * other) ** 0.5 if one > 0 and other > 0 else float("nan")


def _gradients(loss: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for g, w in zip(found, weights, strict=True)]


def _summarise(per_batch: Sequence[Mapping[str, tuple[float, float, float]]]) -> dict[str, Any]:
    from scipy.stats import t  # slow to import

    layers, count = list(per_batch[0]), len(per_batch)
    values = np.array([[batch[layer] for layer in layers] for batch in per_batch])  # (S, layers, 3)
    cosines = np.array([[cosine(*layer) for layer in batch] for batch in values])
    whole = np.array([cosine(*batch) for batch in values.sum(axis=1)])
    half = (
        cosines.std(axis=0, ddof=1) * t.ppf(0.975, count - 1) / count**0.5
        if count > 1
        else np.full(len(layers), np.nan)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.median(np.sqrt(values[..., 2] / values[..., 1]), axis=0)
    mean = cosines.mean(axis=0)
    return {
        "layers": layers, "cosine": mean, "low": mean - half, "high": mean + half, "ratio": ratio,
        "all": np.array(whole.mean()), "conflicts": np.array((whole < 0).mean()),
    }  # fmt: skip


def draw_gradients(found: Mapping[str, Any], target: Path, *, has_title: bool = True) -> Path:
    """Cosine and ratio by layer at the last epoch and, where there are several, the cosine over the epochs."""
    layers = next(iter(found.values()))["layers"]
    places = range(len(layers))
    label = {name: f"{name} ({_describe(item)})" for name, item in found.items()}
    angle = [Line(label[name], places, item["cosine"][-1], item["low"][-1], item["high"][-1])
             for name, item in found.items()]  # fmt: skip
    ratio = [Line(label[name], places, item["ratio"][-1]) for name, item in found.items()]
    panels = [
        Panel("angle, by layer", angle, y_label="cosine (below 0: conflict)", ticks=layers, level=(0.0, "")),
        Panel("length, by layer", ratio, y_label="contrast / reconstruction", ticks=layers, is_log=True),
    ]
    if any(len(item["epochs"]) > 1 for item in found.values()):
        lines = [Line(label[name], item["epochs"], item["all"]) for name, item in found.items()]
        panels.append(Panel("angle of all shared weights", lines, "epoch", "cosine", level=(0.0, "")))
    count = next(iter(found.values()))["num_batches"]
    subtitle = (
        f"gradients in the patch stream, the stop switched off to measure; mean of {count} batches, 95 % interval"
    )
    return draw(target, panels, title="Do reconstruction and contrast pull the same way?", subtitle=subtitle,
                has_title=has_title)  # fmt: skip


def _describe(item: Mapping[str, Any]) -> str:
    if list(item["epochs"]) == [0]:
        return "untrained"
    share = item["passed"]
    return "no stop" if share == 1 else "stopped" if share == 0 else f"{100 * share:.0f} % passes"
