"""The quickstart's runs in one table."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import check_file, read_json

# name of a number -> (config, run, metric in its result.json)
NUMBERS = {
    "zero_shot_accuracy": ("zeroshot", "zeroshot", "zero_shot_accuracy"),
    "svm_accuracy": ("svm", "svm", "svm_accuracy"),
    "svm_random_accuracy": ("svm", "svm_random", "svm_accuracy"),
    "linear_accuracy": ("linear", "linear", "accuracy"),
    "finetune_accuracy": ("finetune", "finetune", "accuracy"),
    "scratch_accuracy": ("scratch", "scratch", "accuracy"),
    "svm_accuracy_5shot": ("svm", "svm", "svm_5shot_accuracy"),
    "svm_random_accuracy_5shot": ("svm", "svm_random", "svm_5shot_accuracy"),
    "linear_accuracy_5shot": ("linear", "linear_5shot", "accuracy"),
    "finetune_accuracy_5shot": ("finetune", "finetune_5shot", "accuracy"),
    "scratch_accuracy_5shot": ("scratch", "scratch_5shot", "accuracy"),
}
ROWS = (
    ("zero-shot (class names as prompts)", "zero_shot_accuracy", None),
    ("linear SVM, pretrained features", "svm_accuracy", "svm_accuracy_5shot"),
    ("linear SVM, random weights", "svm_random_accuracy", "svm_random_accuracy_5shot"),
    ("linear probe, pretrained", "linear_accuracy", "linear_accuracy_5shot"),
    ("fine-tuned, pretrained", "finetune_accuracy", "finetune_accuracy_5shot"),
    ("trained from scratch", "scratch_accuracy", "scratch_accuracy_5shot"),
)
PICTURES = {
    "pretrain_curves.png": ("pretrain", "pretrain", "curves.png"),
    "finetune_curves.png": ("finetune", "finetune", "curves.png"),
    "reconstruction.png": ("pretrain", "pretrain", "reconstruction.png"),
    "confusion.png": ("finetune", "finetune", "confusion.png"),
    "confusion_zero_shot.png": ("zeroshot", "zeroshot", "confusion-zero_shot.png"),
    "tsne.png": ("svm", "svm", "tsne.png"),
}


def collect_quickstart(root: Path, seed: int, seconds: float | None) -> dict[str, Any]:
    """Reads the results of all runs of one seed.

    Args:
        root: folder with the run folders.
        seed: of the runs.
        seconds: how long they took together; None: the sum of what they say.

    Raises:
        InputError: a run is missing or not finished.
    """
    results = {run: read_json(_folder(root, config, run, seed) / "result.json") for config, run, _ in NUMBERS.values()}
    pretraining = _train_losses(_folder(root, "pretrain", "pretrain", seed) / "metrics.jsonl")
    test = results["finetune"]
    summary: dict[str, Any] = {
        "seed": seed,
        "select": test["select"],
        "num_test_objects": test["num_objects"],
        "chance": 1 / results["zeroshot"]["zero_shot_num_classes"],
        "pretrain_loss_first": pretraining[0],
        "pretrain_loss_last": pretraining[-1],
    }
    summary |= {name: results[run][metric] for name, (_, run, metric) in NUMBERS.items()}
    for name in ("finetune", "scratch"):
        summary[f"{name}_mean_class_accuracy"] = results[name]["mean_class_accuracy"]
    summary["seconds"] = seconds if seconds is not None else sum(result["seconds"] for result in results.values())
    return summary


def format_table(summary: Mapping[str, Any]) -> str:
    """The numbers as text, one protocol a line, all labels beside five a class."""
    lines = [
        f"accuracy on {summary['num_test_objects']} test objects, seed {summary['seed']}, "
        f"chance {summary['chance']:.3f}",
        f"{'':36}{'all labels':>12}{'5 a class':>12}",
    ]
    for title, full, few in ROWS:
        cells = [f"{summary[name]:.3f}" if name else "" for name in (full, few)]
        lines.append(f"{title:36}{cells[0]:>12}{cells[1]:>12}")
    for title, suffix in (("all labels", ""), ("5 a class", "_5shot")):
        gain = summary[f"finetune_accuracy{suffix}"] - summary[f"scratch_accuracy{suffix}"]
        lines.append(f"fine-tuned minus from scratch, {title}: {gain:+.3f}")
    first, last = summary["pretrain_loss_first"], summary["pretrain_loss_last"]
    lines.append(f"pretraining loss {first:.3f} -> {last:.3f}; {summary['seconds']:.0f} s in all")
    return "\n".join(lines)


def gather_pictures(root: Path, seed: int, out: Path, summary: Mapping[str, Any]) -> list[Path]:
    """Copies the runs' pictures into one folder and draws the comparison."""
    from pointrecon.tools.visualize.results import draw_comparison  # matplotlib is slow to import

    out.mkdir(parents=True, exist_ok=True)
    written = draw_comparison(summary, out / "results.png")
    for name, (config, run, picture) in PICTURES.items():
        source = _folder(root, config, run, seed) / "figures" / picture
        if source.is_file():
            written.append(Path(shutil.copyfile(source, out / name)))
    return written


def _folder(root: Path, config: str, run: str, seed: int) -> Path:
    return root / config / "quickstart" / f"{run}-seed{seed}"


def _train_losses(path: Path) -> list[float]:
    """The mean loss of every epoch."""
    records = [json.loads(line) for line in check_file(path, "metrics file").read_text(encoding="utf-8").splitlines()]
    losses = [record["loss"] for record in records if record["split"] == "train"]
    if not losses:
        raise InputError(f"'{path}' has no training epochs; run the quickstart again")
    return losses
