"""Accuracy of predictions, with what is known of its spread.

Shape legend: n objects, C classes.
"""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.tools.sweeps.summary import wilson
from pointrecon.utils.files.io import atomic_write


def accuracy_report(predictions: Tensor, labels: Tensor, class_names: list[str]) -> dict[str, Any]:
    """Overall, mean-class and per-class accuracy.

    Args:
        predictions: (n,) int64.
        labels: (n,) int64.
        class_names: C names; classes without an object do not count in the mean and are left out.

    Returns:
        `accuracy` and `mean_class_accuracy` in 0..1, `num_objects`, `accuracy_interval` (95 %, over objects), and
        `class_accuracy`: for each class its `accuracy` and `num_objects`.
    """
    correct = (predictions == labels).double()
    counts = labels.bincount(minlength=len(class_names))
    sums = correct.new_zeros(len(class_names)).scatter_add_(0, labels, correct)
    per_class = sums[counts > 0] / counts[counts > 0]
    accuracy = correct.mean().item()
    rows = zip(class_names, sums.tolist(), counts.tolist(), strict=True)
    return {
        "accuracy": accuracy,
        "mean_class_accuracy": per_class.mean().item(),
        "num_objects": len(labels),
        "accuracy_interval": list(wilson(accuracy, len(labels))),
        "class_accuracy": {
            name: {"accuracy": total / count, "num_objects": count} for name, total, count in rows if count
        },
    }


def report_on(dataset: PointCloudDataset, predictions: Tensor, labels: Tensor) -> dict[str, Any]:
    """`accuracy_report`, and the accuracy without each class that `dataset.near_copies` names: those flatter.

    Args:
        dataset: has `class_names` and `near_copies`.
        predictions: (n,) int64.
        labels: (n,) int64.
    """
    report = accuracy_report(predictions, labels, list(dataset.class_names))
    for name in dataset.near_copies:
        kept = labels != dataset.class_names.index(name)
        report[f"accuracy_without_{name}"] = (predictions == labels)[kept].double().mean().item()
    return report


def mean_report(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of reports on the same objects, with the standard deviation of the accuracy if there are several."""
    if len(reports) == 1:
        return reports[0]
    shares = [name for name, value in reports[0].items() if isinstance(value, float)]
    mean = reports[0] | {name: float(np.mean([report[name] for report in reports])) for name in shares}
    mean["accuracy_interval"] = list(wilson(mean["accuracy"], mean["num_objects"]))
    classes = [report["class_accuracy"] for report in reports]
    mean["class_accuracy"] = {
        name: one | {"accuracy": float(np.mean([other[name]["accuracy"] for other in classes]))}
        for name, one in classes[0].items()
    }
    return mean | {"accuracy_std": float(np.std([report["accuracy"] for report in reports], ddof=1))}


def save_predictions(
    path: Path,
    *,
    ids: list[str],
    labels: Tensor,
    predictions: Tensor,
    class_names: list[str],
    **scores: Tensor,
) -> None:
    """Writes what was said of each object.

    Args:
        path: where.
        ids: n keys.
        labels: (n,) int64.
        predictions: (n,) int64.
        class_names: C names.
        scores: (n, C) what the predictions come from, by name: probabilities, similarities.
    """
    arrays: dict[str, Any] = {
        "ids": ids,
        "labels": labels.numpy(),
        "predictions": predictions.numpy(),
        "class_names": class_names,
        **{name: score.float().numpy() for name, score in scores.items()},
    }
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)
