"""Accuracy of predictions.

Shape legend: n objects, C classes.
"""

from pathlib import Path

import numpy as np
from torch import Tensor

from utils.io import atomic_write


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


def accuracy_without(predictions: Tensor, labels: Tensor, left_out: int) -> float:
    """Accuracy over the objects that are not of the class `left_out`."""
    kept = labels != left_out
    return (predictions == labels)[kept].double().mean().item()


def save_predictions(path: Path, ids: list[str], labels: Tensor, predictions: Tensor, class_names: list[str]) -> None:
    """Writes what was said of each object: ids, labels, predictions (n,) and class_names (C,)."""
    with atomic_write(path) as temporary:
        np.savez_compressed(
            temporary, ids=ids, labels=labels.numpy(), predictions=predictions.numpy(), class_names=class_names
        )
