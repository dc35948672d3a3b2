"""Pictures of a mesh on a white ground, made with numpy alone: triangles to spans of pixels, nearest one wins.

Shape legend: V vertices, F faces, S side of the picture in pixels, R rows of triangles, P pixels of triangles.
"""

import io
from dataclasses import dataclass

import numpy as np

from pointrecon.datasets.meshes.clean import normals_by_area
from pointrecon.datasets.meshes.mesh import Mesh

SIZE = 128
AZIMUTHS = (30.0, 120.0, 210.0, 300.0)  # degrees from the front (+z) towards the right (+x)
ELEVATION = 22.0  # degrees above the ground
_DISTANCE = 2.6  # of the camera from the centre, in radii of the shape
_FILL = 0.92  # of the picture's side
_GREY = (0.80, 0.79, 0.77)  # of shapes without colours
_LIGHT = (-0.45, 0.62, 0.64)  # towards the lamp, seen from the camera: left, up, behind it
_SUPER = 2  # pixels a side that make one
_THIN = 2.0  # pixels that a triangle between two rows must be long to be drawn


@dataclass
class _Screen:
    """Triangles on the screen.

    Attributes:
        x, y: (3, F) in pixels.
        w: (3, F) one over the depth.
        normals: (F, 3) of length 1, towards the camera.
    """

    x: np.ndarray
    y: np.ndarray
    w: np.ndarray
    normals: np.ndarray


def render_views(mesh: Mesh, azimuths: tuple[float, ...] = AZIMUTHS, size: int = SIZE) -> list[np.ndarray]:
    """Draws a mesh from several sides.

    Args:
        mesh: y up, front +z; faces may face either way.
        azimuths: One picture each, in degrees.
        size: S.

    Returns:
        (S, S, 3) uint8 RGB pictures.
    """
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    vertices = mesh.vertices - (low + high) / 2
    radius = np.sqrt((vertices**2).sum(1).max())
    centred = Mesh(vertices / radius, mesh.faces, mesh.colors)
    return [_draw(centred, azimuth, size) for azimuth in azimuths]


def encode(picture: np.ndarray) -> bytes:
    """(S, S, 3) uint8 -> WebP."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=88, method=4)
    return buffer.getvalue()


def _draw(mesh: Mesh, azimuth: float, size: int) -> np.ndarray:
    side = size * _SUPER
    screen = _project(mesh, azimuth, side)
    depth, face = _nearest(screen, side)
    colors = np.array([_GREY], np.float32) if mesh.colors is None else mesh.colors
    is_drawn = face >= 0
    shown = face[is_drawn]
    base = 0.06 + 0.94 * (colors[shown] if mesh.colors is not None else colors)
    light = _shade(screen.normals[shown]) * _depth_cue(depth, is_drawn)[is_drawn]
    picture = np.ones((side * side, 3), np.float32)
    picture[is_drawn] = np.clip(base * light[:, None], 0, 1)
    picture = picture.reshape(size, _SUPER, size, _SUPER, 3).mean((1, 3))
    return np.rint(picture * 255).astype(np.uint8)


def _project(mesh: Mesh, azimuth: float, side: int) -> _Screen:
    """Turns the shape before the camera; the picture is fitted to what is seen of it."""
    turn, tilt = np.radians(azimuth), np.radians(ELEVATION)
    cos, sin, up, out = np.cos(turn), np.sin(turn), np.sin(tilt), np.cos(tilt)

    def to_camera(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, y, z = vectors.T
        right, towards = x * cos - z * sin, x * sin + z * cos
        return right, y * out - towards * up, y * up + towards * out

    x, y, z = to_camera(mesh.vertices)
    w = 1 / (_DISTANCE - z)
    x, y = x * w, -y * w
    middle = [(values.min() + values.max()) / 2 for values in (x, y)]
    extent = max(np.ptp(x), np.ptp(y))
    scale = _FILL * side / extent
    corners = np.ascontiguousarray(mesh.faces.T)  # reductions over a last axis of three are slow
    x, y = (values[corners] for values in ((x - middle[0]) * scale + side / 2, (y - middle[1]) * scale + side / 2))
    normals = np.stack(to_camera(normals_by_area(mesh)))
    normals /= np.sqrt((normals**2).sum(0)) + 1e-30
    # Towards the eye, which is not at infinity: a face is seen from the side that its first corner shows.
    right, height, towards = to_camera(mesh.vertices[corners[0]])
    eye = -right * normals[0] - height * normals[1] + (_DISTANCE - towards) * normals[2]
    return _Screen(x, y, w[corners], (normals * np.where(eye < 0, -1.0, 1.0)).T)


def _nearest(screen: _Screen, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns one over the depth (S * S,) and the face (S * S,) of the nearest triangle in each pixel; -1: none."""
    face, row, first, last = _spans(screen, side)
    counts = last - first + 1
    span = np.repeat(np.arange(len(face)), counts)
    column = np.arange(len(span)) - np.repeat(np.cumsum(counts) - counts, counts) + first[span]
    face, row = face[span], row[span]
    w = _plane(screen, face, column + 0.5, row + 0.5)
    # The greatest w wins; among equals the first face.
    keys = ((2**31 - 1 - np.rint(w * 2**29).astype(np.int64)) << 32) | face
    best = np.full(side * side, np.iinfo(np.int64).max)
    np.minimum.at(best, row * side + column, keys)
    is_empty = best == np.iinfo(np.int64).max
    depth = (2**31 - 1 - (best >> 32)) / 2**29
    return np.where(is_empty, 0, depth), np.where(is_empty, -1, best & 0xFFFFFFFF)


def _spans(screen: _Screen, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of pixels of every triangle: face, row, first and last column, (R,) each."""
    low, high = screen.y.min(0), screen.y.max(0)
    top = np.maximum(np.ceil(low - 0.5), 0).astype(np.int64)
    bottom = np.minimum(np.floor(high - 0.5), side - 1).astype(np.int64)
    # A thin part that falls between two rows or columns would vanish: it gets the pixels that it is in.
    start, end = screen.x.min(0), screen.x.max(0)
    is_thin = (top > bottom) & (end - start > _THIN)
    top = np.where(is_thin, np.clip(low.astype(np.int64), 0, side - 1), top)
    bottom = np.where(is_thin, top, bottom)
    counts = np.maximum(bottom - top + 1, 0)
    face = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(face)) - np.repeat(np.cumsum(counts) - counts, counts) + top[face]
    height = row + 0.5
    left, right = np.where(is_thin, start, np.inf)[face], np.where(is_thin, end, -np.inf)[face]
    for corner, other in ((0, 1), (1, 2), (2, 0)):
        y0, y1 = screen.y[corner][face], screen.y[other][face]
        part = np.where(y1 == y0, -1.0, (height - y0) / np.where(y1 == y0, 1.0, y1 - y0))
        x0 = screen.x[corner][face]
        x = x0 + part * (screen.x[other][face] - x0)
        is_cut = (part >= 0) & (part <= 1)
        left = np.where(is_cut, np.minimum(left, x), left)
        right = np.where(is_cut, np.maximum(right, x), right)
    is_cut = left <= right
    face, row, left, right = face[is_cut], row[is_cut], left[is_cut], right[is_cut]
    first = np.maximum(np.ceil(left - 0.5), 0).astype(np.int64)
    last = np.minimum(np.floor(right - 0.5), side - 1).astype(np.int64)
    is_thin = first > last
    first = np.where(is_thin, np.clip(left.astype(np.int64), 0, side - 1), first)
    return face, row, first, np.where(is_thin, first, last)


def _plane(screen: _Screen, face: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(P,) one over the depth, which is linear on the screen."""
    x0, y0, w0 = screen.x[0], screen.y[0], screen.w[0]
    ax, ay, aw = screen.x[1] - x0, screen.y[1] - y0, screen.w[1] - w0
    bx, by, bw = screen.x[2] - x0, screen.y[2] - y0, screen.w[2] - w0
    double = ax * by - ay * bx
    safe = np.where(np.abs(double) < 1e-9, np.inf, double)
    along_x, along_y = (aw * by - bw * ay) / safe, (ax * bw - bx * aw) / safe
    w = w0[face] + (x - x0[face]) * along_x[face] + (y - y0[face]) * along_y[face]
    return np.minimum(np.maximum(w, screen.w.min(0)[face]), screen.w.max(0)[face])


def _shade(normals: np.ndarray) -> np.ndarray:
    """(P, 3) normals towards the camera -> (P,) brightness: sky from above, a lamp, a little from the camera."""
    lamp = normals[:, 0] * _LIGHT[0] + normals[:, 1] * _LIGHT[1] + normals[:, 2] * _LIGHT[2]
    return 0.45 + 0.13 * normals[:, 1] + 0.48 * np.maximum(lamp, 0) + 0.12 * np.maximum(normals[:, 2], 0)


def _depth_cue(w: np.ndarray, is_drawn: np.ndarray) -> np.ndarray:
    """Darkens what lies behind its surroundings (Luft et al., 2006: unsharp masking of the depth buffer)."""
    side = int(round(np.sqrt(len(w))))
    depth = np.where(is_drawn, 1 / np.where(is_drawn, w, 1), 0).reshape(side, side)
    reach = side // 24
    total, weight = _box(depth, reach), _box(is_drawn.reshape(side, side).astype(np.float64), reach)
    behind = depth - total / np.maximum(weight, 1e-9)
    return (1 - np.clip(behind * 1.6, 0, 0.38)).ravel()


def _box(values: np.ndarray, reach: int) -> np.ndarray:
    """Sums over (2 reach + 1)^2 pixels."""
    for axis in (0, 1):
        padding = [(reach + 1, reach) if other == axis else (0, 0) for other in (0, 1)]
        sums = np.cumsum(np.pad(values, padding), axis=axis)
        size = values.shape[axis]
        values = np.take(sums, range(2 * reach + 1, 2 * reach + 1 + size), axis) - np.take(sums, range(size), axis)
    return values
