"""Intersection over union of predicted parts.

Shape legend: B batch, N points, P parts, C categories, n objects. A part belongs to one category; `belongs` (C, P) bool
says to which.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pointrecon.utils.files.io import write_json


def make_belongs(parts_of_class: Sequence[Sequence[int]], num_parts: int) -> Tensor:
    """(C, P) bool from the parts of each category."""
    belongs = torch.zeros(len(parts_of_class), num_parts, dtype=torch.bool)
    for row, parts in zip(belongs, parts_of_class, strict=True):
        row[list(parts)] = True
    return belongs


def predict_parts(scores: Tensor, labels: Tensor, belongs: Tensor) -> Tensor:
    """The likeliest of the parts that the object's own category has.

    Args:
        scores: (B, N, P) logits or probabilities.
        labels: (B,) int64 categories.
        belongs: (C, P) bool.

    Returns:
        (B, N) int64.
    """
    return scores.masked_fill(~belongs[labels].unsqueeze(1), -torch.inf).argmax(dim=-1)


def object_ious(predictions: Tensor, parts: Tensor, labels: Tensor, belongs: Tensor) -> Tensor:
    """Mean over the parts of each object's category; a part that is neither predicted nor there counts as 1.

    Args:
        predictions: (B, N) int64.
        parts: (B, N) int64, the truth.
        labels: (B,) int64 categories.
        belongs: (C, P) bool.

    Returns:
        (B,) float64 in 0..1.
    """
    num_parts = belongs.shape[1]
    predicted, true = (F.one_hot(x, num_parts).bool() for x in (predictions, parts))
    both, either = ((predicted & true).sum(dim=1).double(), (predicted | true).sum(dim=1).double())
    ious = torch.where(either == 0, 1.0, both / either.clamp_min(1.0))
    counted = belongs[labels].double()
    return (ious * counted).sum(dim=1) / counted.sum(dim=1)


def part_iou_report(ious: Tensor, labels: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
    """Means over objects and over categories.

    Args:
        ious: (n,) of the objects.
        labels: (n,) int64 categories.
        class_names: C names.

    Returns:
        `instance_miou` (mean over objects), `class_miou` (mean over the categories that have objects), `num_objects`,
        and `categories`: for each that has objects its `iou` and `num_objects`.
    """
    categories = {}
    for label, name in enumerate(class_names):
        of_class = ious[labels == label].double()
        if len(of_class):
            categories[name] = {"iou": of_class.mean().item(), "num_objects": len(of_class)}
    return {
        "instance_miou": ious.double().mean().item(),
        "class_miou": sum(category["iou"] for category in categories.values()) / len(categories),
        "num_objects": len(ious),
        "categories": categories,
    }


def format_report(report: dict[str, Any]) -> str:
    """The report as a table, a line a category."""
    width = max(len(name) for name in (*report["categories"], "mean over categories"))
    rows = [(name, category["iou"], category["num_objects"]) for name, category in report["categories"].items()]
    rows.append(("mean over categories", report["class_miou"], report["num_objects"]))
    rows.append(("mean over objects", report["instance_miou"], report["num_objects"]))
    lines = [f"{'category':<{width}}     IoU  objects"]
    return "\n".join([*lines, *(f"{name:<{width}}  {iou:6.4f}  {count:7d}" for name, iou, count in rows)])


def save_part_ious(path: Path, report: dict[str, Any], ids: Sequence[str], ious: Tensor) -> None:
    """Writes the report, and the IoU of each object by its id."""
    write_json(report | {"objects": dict(sorted(zip(ids, ious.tolist(), strict=True)))}, path)
