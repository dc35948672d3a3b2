"""Pictures of results: a page of shapes, drawn by the renderer that is here, and a sheet of reconstructions."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.tools.visualize import style
from pointrecon.tools.visualize.reconstruction import frame_of
from pointrecon.tools.visualize.render import render
from pointrecon.utils.files.io import atomic_write

SIDE, RADIUS = 220, 0.03  # pixels; of a ball in the unit sphere
LOW, HIGH = np.array([0.08, 0.31, 0.58]), np.array([0.36, 0.66, 0.93])  # of the colours from the floor up
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem }}
ul {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 1rem; padding: 0 }}
li {{ list-style: none }}
img {{ width: 100%; aspect-ratio: 1 }}
small {{ overflow-wrap: anywhere; opacity: .75 }}
</style>
<h1>{title}</h1>
<ul>
{items}
</ul>
</html>
"""


def write_page(
    path: str | Path, title: str, ids: Sequence[str], captions: Sequence[str], clouds: Sequence[np.ndarray | None]
) -> None:
    """Writes one HTML file with a picture, a caption and the name of each shape; it needs no other file.

    Args:
        path: The file.
        title: Its heading.
        ids: Paths of the shapes.
        captions: What is said of each.
        clouds: (N, 3) points of each, +y up, in the unit sphere; None: there is no picture.

    Raises:
        InputError: It cannot be written.
    """
    rows = []
    for name, caption, cloud in zip(ids, captions, clouds, strict=True):
        picture = "<p>no picture</p>"
        if cloud is not None:
            picture = f'<img alt="{html.escape(Path(name).name)}" src="{_to_url(draw_cloud(cloud))}">'
        rows.append(f"<li>{picture}<div>{html.escape(caption)}</div><small>{html.escape(name)}</small></li>")
    with atomic_write(path) as temporary:
        temporary.write_text(PAGE.format(title=html.escape(title), items="\n".join(rows)), encoding="utf-8")


def draw_cloud(points: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(N, 3) points, +y up, in the unit sphere -> (S, S, 4) uint8 RGBA."""
    low, high = points[:, 1].min(), points[:, 1].max()
    level = ((points[:, 1:2] - low) / max(float(high - low), 1e-6)).clip(0, 1)
    picture = render(points, LOW + level * (HIGH - LOW), frame_of(points)[0], float(low), side, RADIUS)
    return (picture * 255).round().astype(np.uint8)


def write_reconstructions(path: str | Path, result: dict[str, Any], mask_ratio: float) -> None:
    """Writes a picture with a row a shape: given, visible, rebuilt.

    Args:
        path: Ends with .png.
        result: Of `ShapeModel.reconstruct`.
        mask_ratio: Share of the patches that were hidden, for the title.
    """
    names, count = [Path(name).name for name in result["ids"]], len(result["ids"])
    with style.picture(Path(path), 6.4, 0.4 + style.TITLE_HEIGHT + 2.1 * count) as figure:
        style.add_title(figure, "Reconstruction of hidden patches", f"{mask_ratio:.0%} of the patches hidden")
        for row in range(count):
            visible, rebuilt = result["visible"][row], result["rebuilt"][row]
            for column, cloud in enumerate((result["points"][row], visible, np.concatenate([visible, rebuilt]))):
                axes = style.place(figure, 0.1 + 2.07 * column, 0.1 + 2.1 * (count - 1 - row), 2.0, 2.0)
                axes.axis("off")
                axes.imshow(draw_cloud(cloud, 2 * SIDE))
                label = (style.shorten(names[row], 26), "visible", f"rebuilt, Chamfer {result['chamfer'][row]:.2e}")
                axes.set_title(label[column], fontsize=8)


def _to_url(picture: np.ndarray) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
