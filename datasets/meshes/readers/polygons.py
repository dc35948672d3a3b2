"""Polygons to triangles by ear clipping; a fan would fill in what a concave polygon leaves out.

Shape legend: V vertices, P polygons, C corners of all polygons, F triangles.
"""

import numpy as np

from pointrecon.datasets.meshes.mesh import MeshError

MAX_CORNERS = 4000  # of one polygon; clipping takes quadratic time


def triangulate(
    vertices: np.ndarray, counts: np.ndarray, corners: np.ndarray, name: str = "a mesh"
) -> tuple[np.ndarray, np.ndarray]:
    """Splits polygons into triangles whose corners are the polygons' own.

    Args:
        vertices: (V, 3).
        counts: (P,) corners of each polygon; those with fewer than three give nothing.
        corners: (C,) rows of `vertices`, polygon after polygon.
        name: How to call the mesh in an error.

    Returns:
        Triangles (F, 3) as positions in `corners`, and the polygon (F,) of each. In the order of the polygons.

    Raises:
        MeshError: A corner is no row of `vertices`, or a polygon has over MAX_CORNERS corners.
    """
    counts, corners = np.asarray(counts, np.int64), np.asarray(corners, np.int64)
    if len(corners) and (corners.min() < 0 or corners.max() >= len(vertices)):
        raise MeshError(
            f"'{name}' has a face with a vertex that is not among its {len(vertices)}; leave it out",
            "face out of range",
        )
    if len(counts) and counts.max() > MAX_CORNERS:
        raise MeshError(f"'{name}' has a face with {counts.max()} corners; leave it out", "polygon too large")
    starts = np.cumsum(counts) - counts
    triangles, owners = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    three = np.flatnonzero(counts == 3)
    triangles.append(starts[three, None] + np.arange(3))
    owners.append(three)
    four = np.flatnonzero(counts == 4)
    if len(four):
        triangles.append(_split_quads(vertices[corners[starts[four, None] + np.arange(4)]], starts[four]))
        owners.append(np.repeat(four, 2))
    for polygon in np.flatnonzero(counts > 4):
        start, count = starts[polygon], counts[polygon]
        ears = clip_ears(vertices[corners[start : start + count]])
        triangles.append(ears + start)
        owners.append(np.full(len(ears), polygon))
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return np.concatenate(triangles)[order], owner[order]


def _split_quads(points: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Splits quads along the diagonal that lies inside. (P, 4, 3), (P,) -> (2 P, 3)."""
    edge, diagonal, last = (points[:, i] - points[:, 0] for i in (1, 2, 3))
    is_inside = (np.cross(edge, diagonal) * np.cross(diagonal, last)).sum(1) >= 0
    first = np.where(is_inside[:, None], [0, 1, 2], [1, 2, 3])
    second = np.where(is_inside[:, None], [0, 2, 3], [1, 3, 0])
    return (np.stack([first, second], 1) + starts[:, None, None]).reshape(-1, 3)


def clip_ears(points: np.ndarray) -> np.ndarray:
    """Splits one polygon into its corners minus two triangles.

    Args:
        points: (n, 3) corners in order, about in one plane.

    Returns:
        (n - 2, 3) rows of `points`. Where a polygon crosses itself, what is left is split as convex.
    """
    flat = _flatten(points)
    following = np.roll(flat, -1, 0)
    turns = _cross(flat - np.roll(flat, 1, 0), following - flat)
    size = np.abs(flat).max() ** 2 if len(flat) else 0.0
    left = list(range(len(points)))
    triangles = []
    if turns.min() >= -1e-12 * size and _winding(flat) < 1.5:
        return np.array([[0, i, i + 1] for i in range(1, len(points) - 1)], np.int64)
    while len(left) > 3:
        at = _find_ear(flat, left)
        triangles.append([left[at - 1], left[at], left[(at + 1) % len(left)]])
        del left[at]
    return np.array(triangles + [left], np.int64)


def join_holes(points: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Makes one ring of a polygon and its holes, by bridges that are passed twice; `clip_ears` takes it.

    Args:
        points: (n, 3) corners of the outer ring, then of each hole, about in one plane, in any direction.
        counts: Corners of each ring, each at least 3.

    Returns:
        (n + 2 * holes,) rows of `points`.

    Raises:
        MeshError: There are over MAX_CORNERS corners.
    """
    if len(points) > MAX_CORNERS:
        raise MeshError(f"a face with holes has {len(points)} corners; leave it out", "polygon too large")
    rings = np.split(np.arange(len(points)), np.cumsum(counts)[:-1])
    flat = _flatten(points, counts[0])
    edges = np.concatenate([np.stack([ring, np.roll(ring, -1)], 1) for ring in rings])
    outer = rings[0]
    for hole in sorted(rings[1:], key=lambda ring: -flat[ring, 0].max()):
        if _area(flat[hole]) > 0:
            hole = hole[::-1]
        far = ((flat[outer][:, None] - flat[hole][None]) ** 2).sum(-1)
        nearest = np.stack(np.unravel_index(np.argsort(far, axis=None), far.shape), 1)
        is_free = (pair for pair in nearest if _is_free(flat, edges, outer[pair[0]], hole[pair[1]]))
        at, start = next(is_free, nearest[0])
        edges = np.concatenate([edges, [[outer[at], hole[start]]]])
        outer = np.concatenate([outer[: at + 1], hole[start:], hole[: start + 1], outer[at:]])
    return outer


def _area(ring: np.ndarray) -> float:
    return float(_cross(ring, np.roll(ring, -1, 0)).sum() / 2)


def _is_free(flat: np.ndarray, edges: np.ndarray, one: int, two: int) -> bool:
    """Whether a line between two corners crosses no edge."""
    a, b = flat[one], flat[two]
    c, d = flat[edges[:, 0]], flat[edges[:, 1]]
    shares = ((c == a) | (c == b)).all(1) | ((d == a) | (d == b)).all(1)
    apart = (_cross(b - a, c - a) * _cross(b - a, d - a) > 0) | (_cross(d - c, a - c) * _cross(d - c, b - c) > 0)
    return bool((apart | shares).all())


def _flatten(points: np.ndarray, first: int | None = None) -> np.ndarray:
    """Projects corners onto the mean plane of the first ones, so that these turn left. (n, 3) -> (n, 2)."""
    points = points - points[:first].mean(0)
    normal = np.cross(points[:first], np.roll(points[:first], -1, 0)).sum(0)
    drop = int(np.argmax(np.abs(normal)))
    keep = [(1, 2), (2, 0), (0, 1)][drop]
    flat = points[:, keep]
    return flat if normal[drop] >= 0 else flat[:, ::-1]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _winding(flat: np.ndarray) -> float:
    """How often a closed line turns about itself."""
    edges = np.roll(flat, -1, 0) - flat
    edges = edges[np.abs(edges).sum(1) > 0]
    after = np.roll(edges, -1, 0)
    return float(np.arctan2(_cross(edges, after), (edges * after).sum(1)).sum() / (2 * np.pi))


def _find_ear(flat: np.ndarray, left: list[int]) -> int:
    """Finds a corner whose triangle holds no other corner; else the one that turns most to the left."""
    ring = flat[left]
    before, after = np.roll(ring, 1, 0), np.roll(ring, -1, 0)
    turns = _cross(ring - before, after - ring)
    for at in np.flatnonzero(turns > 0):
        a, b, c = before[at], ring[at], after[at]
        is_in = (_cross(b - a, ring - a) >= 0) & (_cross(c - b, ring - b) >= 0) & (_cross(a - c, ring - c) >= 0)
        # Corners at the same place as one of the triangle's (a hole's bridge passes twice) do not hinder it.
        is_same = (ring == a).all(1) | (ring == b).all(1) | (ring == c).all(1)
        if not (is_in & ~is_same).any():
            return int(at)
    return int(np.argmax(turns))
