"""Accuracy of predictions.

Shape legend: n objects, C classes.
"""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pointrecon.utils.files.io import atomic_write


def accuracy_report(predictions: Tensor, labels: Tensor, num_classes: int) -> dict[str, float]:
    """Overall and mean-class accuracy.

    Args:
        predictions: (n,) int64.
        labels: (n,) int64.
        num_classes: C; classes without an object do not count in the mean.

    Returns:
        `accuracy` and `mean_class_accuracy` in 0..1, and `num_objects`.
    """
    correct = (predictions == labels).double()
    counts = labels.bincount(minlength=num_classes)
    per_class = correct.new_zeros(num_classes).scatter_add_(0, labels, correct)[counts > 0] / counts[counts > 0]
    return {
        "accuracy": correct.mean().item(),
        "mean_class_accuracy": per_class.mean().item(),
        "num_objects": len(labels),
    }


def report_on(dataset: Any, predictions: Tensor, labels: Tensor) -> dict[str, float]:
    """`accuracy_report`, and the accuracy without each class that `dataset.near_copies` names: those flatter.

    Args:
        dataset: has `class_names`.
        predictions: (n,) int64.
        labels: (n,) int64.
    """
    report = accuracy_report(predictions, labels, len(dataset.class_names))
    for name in getattr(dataset, "near_copies", ()):
        kept = labels != dataset.class_names.index(name)
        report[f"accuracy_without_{name}"] = (predictions == labels)[kept].double().mean().item()
    return report


def save_predictions(path: Path, ids: list[str], labels: Tensor, predictions: Tensor, class_names: list[str]) -> None:
    """Writes what was said of each object: ids, labels, predictions (n,) and class_names (C,)."""
    with atomic_write(path) as temporary:
        np.savez_compressed(
            temporary, ids=ids, labels=labels.numpy(), predictions=predictions.numpy(), class_names=class_names
        )
