"""What a mesh must be like to become a shape, and what is mended first.

Shape legend: V vertices, F faces.
"""

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, MeshError

MIN_FACES = 12  # a box has 12; fewer are crossed pictures of plants, markers, planes
MAX_FACES = 1_000_000
MIN_THICKNESS = 0.01  # spread across the thinnest direction relative to the widest
MAX_PARTS = 20_000  # pieces that do not touch: the leaves of a tree are thousands
_GRID = 1 << 20  # vertices in one cell of this many a side are one vertex


def clean(mesh: Mesh, name: str) -> Mesh:
    """Mends a mesh and refuses one that makes no shape.

    Vertices in one place become one, faces without area and faces that are there twice (both sides of a sheet) go.
    The result is centred on its box, whose longest side is 1.

    Args:
        mesh: As read.
        name: For the message.

    Raises:
        MeshError: Coordinates that are not finite, fewer than `MIN_FACES` or more than `MAX_FACES` faces, no area,
            flatter than `MIN_THICKNESS`, or more than `MAX_PARTS` pieces: a scene.
    """
    mesh.check(name)
    if len(mesh.faces) > MAX_FACES:
        raise MeshError(f"'{name}' has {len(mesh.faces):,} faces, but at most {MAX_FACES:,} are read", "scene")
    mesh = _fit(mesh, name)
    mesh = _weld(mesh)
    if len(mesh.faces) < MIN_FACES:
        raise MeshError(f"'{name}' has {len(mesh.faces)} faces, but must have at least {MIN_FACES}", "few faces")
    thin = thickness(mesh)
    if not thin >= MIN_THICKNESS:
        raise MeshError(f"'{name}' is flat: its thickness is {thin:.4f}, but must be {MIN_THICKNESS}", "flat")
    parts = count_parts(mesh)
    if parts > MAX_PARTS:
        raise MeshError(f"'{name}' has {parts:,} pieces, but at most {MAX_PARTS:,} make a thing", "scene")
    return mesh


def face_areas(mesh: Mesh) -> np.ndarray:
    """(F,) areas in squared units of the vertices."""
    x, y, z = normals_by_area(mesh).T
    return 0.5 * np.sqrt(x**2 + y**2 + z**2)


def normals_by_area(mesh: Mesh) -> np.ndarray:
    """(F, 3) normals, twice the face's area long."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    (x0, y0, z0), (x1, y1, z1) = (b - a).T, (c - a).T
    return np.stack([y0 * z1 - z0 * y1, z0 * x1 - x0 * z1, x0 * y1 - y0 * x1], axis=1)


def thickness(mesh: Mesh) -> float:
    """Standard deviation of the surface across its thinnest direction, relative to that along its widest."""
    areas = face_areas(mesh)
    corners = mesh.vertices[mesh.faces]
    total = areas.sum()
    mean = (areas[:, None] * corners.mean(1)).sum(0) / total
    corners = corners - mean
    sums = corners.sum(1)
    # The second moment of a triangle is exactly this sum over its corners.
    moment = np.einsum("f,fki,fkj->ij", areas / 12, corners, corners) + np.einsum("f,fi,fj->ij", areas / 12, sums, sums)
    small, *_, large = np.linalg.eigvalsh(moment / total)
    return float(np.sqrt(max(small, 0.0) / large)) if large > 0 else 0.0


def count_parts(mesh: Mesh) -> int:
    """Number of pieces that share no vertex."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(mesh.vertices)
    edges = np.concatenate([mesh.faces[:, :2], mesh.faces[:, 1:]])
    graph = coo_matrix((np.ones(len(edges), np.int8), edges.T), shape=(count, count))
    return int(connected_components(graph, directed=False)[0])


def _fit(mesh: Mesh, name: str) -> Mesh:
    """Drops vertices of no face; centres the box and makes its longest side 1."""
    used, rows = np.unique(mesh.faces, return_inverse=True)
    vertices = mesh.vertices[used]
    low, high = vertices.min(0), vertices.max(0)
    size = float((high - low).max())
    if not size > 0:
        raise MeshError(f"'{name}' is a single point", "no area")
    return Mesh((vertices - (low + high) / 2) / size, rows.reshape(-1, 3), mesh.colors)


def _weld(mesh: Mesh) -> Mesh:
    cells = np.rint((mesh.vertices + 0.5) * (_GRID - 1)).astype(np.int64)
    keys = (cells[:, 0] * _GRID + cells[:, 1]) * _GRID + cells[:, 2]
    _, first, rows = np.unique(keys, return_index=True, return_inverse=True)
    faces = rows.reshape(-1)[mesh.faces]
    welded = Mesh(mesh.vertices[first], faces, mesh.colors)
    is_good = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    is_good &= face_areas(welded) > 1e-12
    kept = np.flatnonzero(is_good)
    corners = np.sort(faces[kept], axis=1)
    order = np.lexsort((kept, corners[:, 2], corners[:, 1], corners[:, 0]))
    is_new = np.ones(len(kept), dtype=bool)
    is_new[1:] = (corners[order[1:]] != corners[order[:-1]]).any(1)
    kept = np.sort(kept[order[is_new]])
    return Mesh(welded.vertices, faces[kept], None if mesh.colors is None else mesh.colors[kept])
