"""From a mesh in a package to what is kept of it: points, pictures, a few numbers. One call stands alone.

Shape legend: N points, K views.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointrecon.datasets.meshes.clean import clean, count_parts, thickness
from pointrecon.datasets.meshes.render import encode, render_views
from pointrecon.datasets.meshes.sampling import make_cloud
from pointrecon.tools.debshapes.sources.sources import SOURCES, Item
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.npy import read_npz

RECIPE = 1  # raised when a change here, in cleaning, sampling or rendering makes other shapes of the same meshes


@dataclass
class Shape:
    """What is kept of a mesh.

    Attributes:
        points: (N, 3) float16, farthest points first, unit sphere about the centroid.
        views: K pictures, WebP.
        area: Of the surface, at the scale of the points.
        numbers: Faces, pieces and thickness, for the survey of a source.
    """

    points: np.ndarray
    views: list[bytes]
    area: float
    numbers: tuple[float, ...] = ()


def make_shape(task: tuple[str, Item]) -> bytes:
    """Reads, cleans, samples and draws one mesh.

    Args:
        task: The folder of the unpacked package, and the item.

    Returns:
        The shape as the bytes of a file.

    Raises:
        MeshError: The mesh cannot be read or makes no shape.
    """
    import torch

    torch.set_num_threads(1)  # as many processes as cores are at work
    folder, item = task
    mesh = clean(SOURCES[item.source].read(Path(folder), item), item.id)
    points, area = make_cloud(mesh, item.id)
    views = [encode(picture) for picture in render_views(mesh)]
    return to_bytes(Shape(points, views, area, (len(mesh.faces), count_parts(mesh), thickness(mesh))))


def to_bytes(shape: Shape) -> bytes:
    """Writes a shape as a .npz file's bytes, the same for the same shape."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        points=shape.points,
        views=np.frombuffer(b"".join(shape.views), np.uint8),
        lengths=np.array([len(view) for view in shape.views], np.int64),
        area=np.float64(shape.area),
        numbers=np.array(shape.numbers, np.float64),
    )
    return buffer.getvalue()


def read_shape(path: str | Path) -> Shape:
    """Reads what `to_bytes` has made.

    Raises:
        InputError: The file is damaged.
    """
    try:
        file = read_npz(path)
        data, ends = file["views"].tobytes(), np.cumsum(file["lengths"])
        views = [data[end - length : end] for end, length in zip(ends, file["lengths"], strict=True)]
        return Shape(file["points"], views, float(file["area"]), tuple(file["numbers"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{path}' is damaged; remove it, and it is made again ({error})") from error
