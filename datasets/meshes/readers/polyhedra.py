"""OFF and PLY files whose faces have more than three corners; those of triangles alone are left to faster readers.

https://shape.cs.princeton.edu/benchmark/documentation/off_format.html, http://paulbourke.net/dataformats/ply/
"""

from typing import Any

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.datasets.meshes.readers.textures import assemble

TYPES = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2"},
    **{"uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4"},
    **{"double": "f8", "float64": "f8"},
}
LISTS = ("vertex_indices", "vertex_index")


def read_off(data: bytes, path: str) -> Mesh | None:
    """Reads an OFF file with polygons.

    Args:
        data: The file.
        path: For errors.

    Returns:
        The mesh; None: it has triangles alone, or is not of the plain form.

    Raises:
        MeshError: It names vertices that are not there, or a line is not made of numbers.
    """
    lines = [line for line in (line.partition(b"#")[0] for line in data.splitlines()) if line.strip()]
    first = lines[0].split() if lines else []
    if not first or not first[0].upper().startswith(b"OFF"):
        return None
    sizes = [first[0][3:], *first[1:]] if len(first) > 1 or first[0][3:] else (lines[1:2] or [b""])[0].split()
    start = 1 if len(first) > 1 or first[0][3:] else 2  # some files have the counts on the first line
    try:
        num_vertices, num_faces = (int(word) for word in [word for word in sizes if word][:2])
        faces = lines[start + num_vertices : start + num_vertices + num_faces]
        if min(num_vertices, num_faces) < 0 or len(faces) < num_faces:
            return None  # faces are not a line each, or the file ends early, which other readers say
        counts = np.array([int(line.split(None, 1)[0]) for line in faces], np.int64)
        if not len(counts) or counts.max() <= 3:
            return None
        vertices = np.array([line.split()[:3] for line in lines[start : start + num_vertices]], np.float64)
        rows = (line.split()[1 : count + 1] for line, count in zip(faces, counts.tolist(), strict=True))
        corners = np.array([int(word) for row in rows for word in row], np.int64)
    except (ValueError, IndexError, OverflowError) as error:
        raise MeshError(f"'{path}' is no OFF file that can be read ({str(error)[:80]})", "malformed") from error
    return assemble(path, vertices, counts, check_corners(corners, counts, path))


def read_ply(data: bytes, path: str) -> Mesh | None:
    """Reads a PLY file with polygons: ascii, or binary of either order of bytes.

    Args:
        data: The file.
        path: For errors.

    Returns:
        The mesh, with the colours of its faces or the mean of its vertices'; None: it has triangles alone, or elements
        that are not vertices followed by faces.

    Raises:
        MeshError: It ends early or names vertices that are not there.
    """
    head, found, body = data.partition(b"end_header")
    body = body.partition(b"\n")[2]
    kind, elements = _read_header(head)
    if not found or list(elements)[:2] != ["vertex", "face"]:
        return None
    (num_vertices, scalars), (num_faces, columns) = elements["vertex"], elements["face"]
    lists = [row for row, (name, types) in enumerate(columns) if len(types) == 2]
    is_plain = all(len(types) == 1 for _, types in scalars) and {"x", "y", "z"} <= {name for name, _ in scalars}
    if len(lists) != 1 or columns[lists[0]][0] not in LISTS or not is_plain or not num_faces:
        return None
    try:
        if kind == "ascii":
            table, counts, corners = _read_ascii(body, num_vertices, len(scalars), num_faces, lists[0])
            fields = {name: table[:, row] for row, (name, _) in enumerate(scalars)}
        else:
            order = ">" if "big" in kind else "<"
            dtype = np.dtype([(name, order + types[0]) for name, types in scalars])
            vertices = np.frombuffer(body, dtype, num_vertices)
            fields = {name: vertices[name] for name, _ in scalars}
            counts, corners = _read_binary(body[vertices.nbytes :], num_faces, columns, order)
    except (ValueError, IndexError, KeyError) as error:
        raise MeshError(f"'{path}' ends early or is no PLY file ({str(error)[:80]})", "truncated") from error
    if counts.max() <= 3:
        return None
    points = np.stack([np.asarray(fields[axis], np.float64) for axis in "xyz"], axis=1)
    corners = check_corners(corners, counts, path)
    return assemble(path, points, counts, corners, _colors(fields, counts, corners, num_vertices))


def _read_header(head: bytes) -> tuple[str, dict[str, tuple[int, list[tuple[str, tuple[str, ...]]]]]]:
    """The format, and for each element its count and its properties: name -> (type,) or (type of count, type)."""
    kind, elements, last = "ascii", {}, ""
    for line in head.decode("ascii", "replace").splitlines():
        words = line.split()
        if words[:1] == ["format"] and len(words) > 1:
            kind = words[1]
        elif words[:1] == ["element"] and len(words) == 3 and words[2].isdigit():
            last = words[1]
            elements[last] = (int(words[2]), list[tuple[str, tuple[str, ...]]]())
        elif words[:1] == ["property"] and last and all(word in TYPES for word in words[1:-1] if word != "list"):
            elements[last][1].append((words[-1], tuple(TYPES[word] for word in words[1:-1] if word != "list")))
        elif words[:1] == ["property"]:
            return kind, {}
    return kind, elements


def _read_ascii(
    body: bytes, num_vertices: int, width: int, num_faces: int, skip: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) < num_vertices + num_faces:
        raise ValueError(f"claims {num_faces:,} faces and has {max(len(lines) - num_vertices, 0):,}")
    faces = lines[num_vertices : num_vertices + num_faces]
    counts = np.array([int(line.split(None, skip + 1)[skip]) for line in faces], np.int64)
    if counts.max() <= 3:
        return np.zeros((0, width)), counts, np.zeros(0, np.int64)
    table = np.array(b" ".join(lines[:num_vertices]).split(), np.float64).reshape(num_vertices, width)
    rows = (line.split()[skip + 1 : skip + count + 1] for line, count in zip(faces, counts.tolist(), strict=True))
    return table, counts, np.array([int(word) for row in rows for word in row], np.int64)


def _read_binary(
    body: bytes, num_faces: int, columns: list[tuple[str, tuple[str, ...]]], order: str
) -> tuple[np.ndarray, np.ndarray]:
    """Counts and corners of the faces, which differ in length: one after the other."""
    types = [tuple(np.dtype(order + name) for name in names) for _, names in columns]
    plain: list[Any] = []
    for row, names in enumerate(types):
        plain += [(f"n{row}", names[0]), *([("corners", names[1], (3,))] if len(names) == 2 else [])]
    lists = next(row for row, names in enumerate(types) if len(names) == 2)
    if len(body) >= num_faces * np.dtype(plain).itemsize:
        rows = np.frombuffer(body, np.dtype(plain), num_faces)
        if (rows[f"n{lists}"] == 3).all():
            return np.full(num_faces, 3), rows["corners"].reshape(-1).astype(np.int64)
    counts, parts, at = [], [], 0
    for _ in range(num_faces):
        for names in types:
            if len(names) == 1:
                at += names[0].itemsize
                continue
            count = int(np.frombuffer(body, names[0], 1, at)[0])
            at += names[0].itemsize
            parts.append(np.frombuffer(body, names[1], count, at))
            counts.append(count)
            at += count * names[1].itemsize
        if at > len(body):
            raise ValueError(f"{num_faces} faces are claimed")
    return np.array(counts, np.int64), np.concatenate(parts).astype(np.int64)


def check_corners(corners: np.ndarray, counts: np.ndarray, path: str) -> np.ndarray:
    """Returns the corners (C,) of polygons that say to have `counts` (P,) of them.

    Raises:
        MeshError: These are not as many.
    """
    if counts.min(initial=0) < 0 or counts.sum() != len(corners):
        raise MeshError(f"'{path}' has faces that say {counts.sum()} corners and list {len(corners)}", "truncated")
    return corners


def _colors(
    fields: dict[str, np.ndarray], counts: np.ndarray, corners: np.ndarray, num_vertices: int
) -> np.ndarray | None:
    """(P, 3) in 0..1: the mean over the corners of each polygon; None without colours."""
    if not {"red", "green", "blue"} <= set(fields) or corners.min() < 0 or corners.max() >= num_vertices:
        return None
    rgb = np.stack([np.asarray(fields[name], np.float64) for name in ("red", "green", "blue")], axis=1)
    scale = 255.0 if fields["red"].dtype.kind in "iu" or rgb.max() > 1 else 1.0
    return mean_colors(rgb[corners], counts) / scale


def mean_colors(rgb: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(C, 3) of the corners of polygons with `counts` (P,) of them -> (P, 3), the mean of each."""
    owner = np.repeat(np.arange(len(counts)), counts)
    sums = np.stack([np.bincount(owner, rgb[:, axis], len(counts)) for axis in range(3)], axis=1)
    return sums / np.maximum(counts, 1)[:, None]
