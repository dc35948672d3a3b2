"""Contact sheets of a finished data set: one of each source and one of all, to be looked at."""

import hashlib
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.meshes.render import SIZE
from pointrecon.datasets.sample import Sample
from pointrecon.datasets.sets.debshapes import FOLDER, DebShapes

COLUMNS = 12
NUM_SHAPES = 48  # on the sheet of a source; twice as many on that of all
LINE, MAX_LINES = 12, 2
CAPTION = MAX_LINES * LINE + 2  # pixels below a picture
MAX_LETTERS = 21  # of a line


def draw_sheets(data_root: Path) -> list[Path]:
    """Draws <data_root>/debshapes/sheets/*.png of shapes drawn by their ids, the same each time.

    Args:
        data_root: Where the data set is.

    Returns:
        The files.
    """
    shapes = DebShapes(str(data_root), images=True)
    ids = shapes.ids
    order = sorted(range(len(ids)), key=lambda row: hashlib.sha256(f"sheet {ids[row]}".encode()).digest())
    sheets = {"all": order[: 2 * NUM_SHAPES]}
    for row in order:
        sheets.setdefault(ids[row].partition(":")[0], []).append(row)
    folder = data_root / FOLDER / "sheets"
    folder.mkdir(exist_ok=True)
    written = []
    for name, rows in sheets.items():
        picked = [shapes[row] for row in (rows if name == "all" else rows[:NUM_SHAPES])]
        written.append(
            draw_sheet(list(map(_pixels, picked)), [sample["text"] for sample in picked], folder / f"{name}.png")
        )
    return written


def draw_classes(shapes: PointCloudDataset, folder: Path, *, num_sample: int = 100, seed: int = 0) -> list[str]:
    """Draws <folder>/*.png: each class, and `sample.png` with objects of all classes, to count wrong labels on.

    Args:
        shapes: A labelled data set with pictures.
        folder: For the sheets; made if it is not there.
        num_sample: Number of objects in the sample.
        seed: Draws the objects.

    Returns:
        The ids of the sample, in the order of the sheet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.RandomState(seed).permutation(len(shapes))
    for label, name in enumerate(shapes.class_names):
        rows = [row for row in order if shapes.labels[row] == label][: 2 * NUM_SHAPES]
        captions = [Path(shapes.ids[row]).stem for row in rows]
        draw_sheet([_pixels(shapes[row]) for row in rows], captions, folder / f"{name}.png")
    sample = [int(row) for row in order[:num_sample]]
    captions = [f"{place} {shapes.class_names[shapes.labels[row]]}" for place, row in enumerate(sample)]
    draw_sheet([_pixels(shapes[row]) for row in sample], captions, folder / "sample.png")
    return [shapes.ids[row] for row in sample]


def _pixels(sample: Sample) -> np.ndarray:
    """(H, W, 3) uint8 of a sample's picture."""
    return (sample["image"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def draw_sheet(pictures: Sequence[np.ndarray], captions: Sequence[str], path: Path) -> Path:
    """Draws pictures in rows with at most two lines of text below each.

    Args:
        pictures: n of (128, 128, 3) uint8.
        captions: n.
        path: Of the PNG.
    """
    from PIL import Image, ImageDraw

    columns = min(COLUMNS, len(pictures))
    num_rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * SIZE, num_rows * (SIZE + CAPTION)), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = place % columns * SIZE, place // columns * (SIZE + CAPTION)
        sheet.paste(Image.fromarray(picture), (x, y))
        for row, line in enumerate(wrap_caption(caption)):
            pen.text((x + 2, y + SIZE + row * LINE), line, fill="black")
    sheet.save(path)
    return path


def wrap_caption(caption: str) -> list[str]:
    """The lines of a caption: whole words, and dots where there are more than fit."""
    return textwrap.wrap(caption, MAX_LETTERS, max_lines=MAX_LINES, placeholder=" ...")
