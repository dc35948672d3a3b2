"""A contact sheet of a folder: its shapes upright as guessed, and some of them with each axis up, so that a wrong guess
is seen at a glance.
"""

from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.datasets.folder.folder import Folder
from pointrecon.datasets.folder.pictures import draw_cloud
from pointrecon.datasets.folder.up_axis import CANDIDATES
from pointrecon.datasets.meshes.render import SIZE
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.files.pictures import decode_picture

COLUMNS = 8
NUM_SHAPES = 48
MARGIN = 100  # pixels for the names of the axes
CAPTION = 30  # pixels below a picture: two lines
HEADER = 40
INK, CHOSEN, GREY = (30, 30, 30), (0, 90, 160), (120, 120, 120)


def draw_folder(data: Folder, path: Path, title: str) -> Path:
    """Draws the sheet.

    Args:
        data: The folder.
        path: Of the PNG.
        title: The line above.

    Raises:
        InputError: It cannot be written.
    """
    from PIL import Image, ImageDraw

    up = data.up or "y"
    rows = spread(data.labels.numpy(), NUM_SHAPES)
    some = rows[:: max(1, len(rows) // COLUMNS)][:COLUMNS]
    axes = list(CANDIDATES) if up in CANDIDATES else [*CANDIDATES, up]
    num_lines = -(-len(rows) // COLUMNS)
    height = 2 * HEADER + len(axes) * SIZE + num_lines * (SIZE + CAPTION)
    sheet = Image.new("RGB", (MARGIN + COLUMNS * SIZE, height), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((8, 12), title, fill=INK)
    for line, axis in enumerate(axes):
        y = HEADER + line * SIZE
        is_chosen = axis == up
        words = f"{axis} is up\n(chosen)" if is_chosen else f"if {axis} were up"
        pen.text((8, y + SIZE // 2 - 10), words, fill=CHOSEN if is_chosen else GREY)
        for place, row in enumerate(some):
            sheet.paste(picture_of(data, row, axis), (MARGIN + place * SIZE, y))
        if is_chosen:
            pen.rectangle((2, y, MARGIN + COLUMNS * SIZE - 2, y + SIZE - 1), outline=CHOSEN, width=2)
    top = HEADER + len(axes) * SIZE
    pen.text((8, top + 12), f"{len(rows)} of {len(data)} shapes, {up} up", fill=INK)
    for place, row in enumerate(rows):
        x, y = MARGIN + place % COLUMNS * SIZE, top + HEADER + place // COLUMNS * (SIZE + CAPTION)
        sheet.paste(picture_of(data, row, up), (x, y))
        label = int(data.labels[row])
        lines = (data.class_names[label] if label >= 0 else "(no class)", data.names[row])
        pen.text((x + 2, y + SIZE), "\n".join(map(shorten, lines)), fill=INK)
    with atomic_write(path) as temporary:
        sheet.save(temporary)
    return path


def spread(labels: np.ndarray, count: int) -> list[int]:
    """At most `count` rows, of all classes in turn, in the order of their classes."""
    by_class = [list(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    picked: list[int] = []
    turn = 0
    while len(picked) < min(count, len(labels)):
        for rows in by_class:
            if turn < len(rows) and len(picked) < count:
                picked.append(int(rows[turn]))
        turn += 1
    return sorted(picked, key=lambda row: (labels[row], row))


def shorten(text: str, letters: int = 21) -> str:
    """A text of at most `letters`, cut between words where it can be."""
    plain = " ".join(text.split())
    if len(plain) <= letters:
        return plain
    cut = plain[: letters - 2]
    return f"{cut.rsplit(' ', 1)[0] if ' ' in cut else cut} .."


def picture_of(data: Folder, row: int, up: str) -> Any:
    """A picture of a shape with an axis up, as Pillow has it."""
    from PIL import Image

    points, colors = data.stored(row)
    return Image.fromarray(decode_picture(draw_cloud(points, colors, up)))
