"""How good a classifier of one's own shapes is on those that were held out: figures with interval, worst mistakes."""

from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.datasets.folder.folder import Folder
from pointrecon.datasets.meshes.render import SIZE
from pointrecon.tools.prepare.sheet import CAPTION, INK, picture_of, shorten
from pointrecon.tools.sweeps.plan import RESULT
from pointrecon.tools.sweeps.summary import wilson
from pointrecon.utils.files.io import atomic_write, read_json
from pointrecon.utils.files.npy import read_npz

NUM_MISTAKES = 16
COLUMNS = 4
FEW = 50  # test shapes below which the report says that a figure is rough


def collect(folder: Path, data: Folder, *, num_train: int) -> dict[str, Any]:
    """Reads the results of a run.

    Args:
        folder: The run folder.
        data: The folder of shapes.
        num_train: Shapes that it was trained on.

    Returns:
        `accuracy` with its 95 % interval (Wilson), `mean_class_accuracy`, what always naming the most frequent class
        would give, each class, the confusions as counts, and the wrong answers that were given with most confidence.
    """
    result = read_json(folder / RESULT)
    found = read_npz(folder / "predictions.npz")
    labels, predictions = found["labels"].astype(int), found["predictions"].astype(int)
    names = [str(name) for name in found["class_names"]]
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (labels, predictions), 1)
    sure = found["probabilities"][np.arange(len(labels)), predictions]
    wrong = sorted(np.flatnonzero(labels != predictions), key=lambda row: -sure[row])[:NUM_MISTAKES]
    training = np.bincount(data.labels[data.labels >= 0], minlength=len(names))
    return {
        "accuracy": result["accuracy"],
        "accuracy_interval": list(wilson(result["accuracy"], len(labels))),
        "mean_class_accuracy": result["mean_class_accuracy"],
        "most_frequent_class": float((labels == int(training.argmax())).mean()),
        "num_test": len(labels),
        "num_train": num_train,
        "classes": {
            name: {"num_test": int(row.sum()), "accuracy": float(row[place] / row.sum()) if row.sum() else None}
            for place, (name, row) in enumerate(zip(names, counts, strict=True))
        },
        "class_names": names,
        "confusion": counts.tolist(),
        "mistakes": [
            {
                "id": str(found["ids"][row]),
                "is": names[labels[row]],
                "taken_for": names[predictions[row]],
                "probability": round(float(sure[row]), 4),
            }
            for row in wrong
        ],
        "checkpoint": str(folder / "ckpt-last.pth"),
    }


def format_report(report: dict[str, Any]) -> str:
    """The report as text."""
    low, high = report["accuracy_interval"]
    lines = [
        f"accuracy {report['accuracy']:.3f} on {report['num_test']} held-out shapes (95 % interval {low:.3f} to "
        f"{high:.3f}); mean over classes {report['mean_class_accuracy']:.3f}; always the most frequent class: "
        f"{report['most_frequent_class']:.3f}"
    ]
    if report["num_test"] < FEW:
        lines.append(f"{report['num_test']} shapes say little: the interval is what is known")
    names = report["class_names"]
    width = max(map(len, names))
    lines.append("true class, shapes held out, right, taken for:")
    for name, row in zip(names, report["confusion"], strict=True):
        others = sorted(((count, names[place]) for place, count in enumerate(row) if count and names[place] != name))
        taken = ", ".join(f"{other} {count}" for count, other in others[::-1])
        lines.append(f"  {name:{width}}  {sum(row):5d} {row[names.index(name)]:5d}  {taken}".rstrip())
    if report["mistakes"]:
        lines.append("worst mistakes (wrong, and most sure of it):")
    for item in report["mistakes"]:
        lines.append(f"  {item['probability']:.2f} {item['id']}: {item['is']} taken for {item['taken_for']}")
    return "\n".join(lines)


def draw_mistakes(mistakes: list[dict[str, Any]], data: Folder, path: Path) -> list[Path]:
    """Draws the shapes that were taken for something else; nothing if there are none, and an older picture goes."""
    from PIL import Image, ImageDraw

    row_of = {name: row for row, name in enumerate(data.ids)}
    if not mistakes:
        path.unlink(missing_ok=True)
        return []
    num_lines = -(-len(mistakes) // COLUMNS)
    width, height = SIZE + 60, SIZE + 2 * CAPTION - 15
    sheet = Image.new("RGB", (COLUMNS * width, num_lines * height), "white")
    pen = ImageDraw.Draw(sheet)
    for place, item in enumerate(mistakes):
        x, y = place % COLUMNS * width, place // COLUMNS * height
        sheet.paste(picture_of(data, row_of[item["id"]], data.up or "y"), (x + 30, y))
        taken = f"for {item['taken_for']} ({item['probability']:.2f})"
        lines = (Path(item["id"]).name, f"is {item['is']}, taken", taken)
        pen.text((x + 4, y + SIZE), "\n".join(shorten(line, 30) for line in lines), fill=INK)
    with atomic_write(path) as temporary:
        sheet.save(temporary)
    return [path]
