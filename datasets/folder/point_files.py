"""Readers of point-cloud files: (path, max_points, seed) -> points (N, 3) float64 and colours (N, 3) in 0..1 or None.

Files of any size are read in pieces where the format allows it; at most `max_points` points are kept, drawn evenly.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.datasets.meshes.mesh import MeshError
from pointrecon.utils.files.io import open_hdf5
from pointrecon.utils.files.npy import read_npy, read_npz

Cloud = tuple[np.ndarray, np.ndarray | None]
NAMES = ("points", "xyz", "pos", "positions", "vertices", "coords", "data", "arr_0")  # of arrays in .npz and .h5
COLOR_NAMES = ("colors", "color", "rgb", "colours")
COLUMN_NAMES = (("red", "green", "blue"), ("r", "g", "b"))  # of colours in the header line of a text file
PIECE = 2_000_000  # points read at once


def split_columns(rows: np.ndarray, path: Path) -> Cloud:
    """(N, C) columns x y z, then colours if the next three look like them; C of at least 3.

    Raises:
        MeshError: The array is of another shape.
    """
    rows = np.asarray(rows)
    if rows.ndim == 3 and rows.shape[0] == 1:
        rows = rows[0]
    if rows.ndim != 2 or rows.shape[1] < 3:
        raise MeshError(f"'{path}' holds an array of shape {rows.shape}, but must be (N, 3) or wider", "wrong shape")
    if not np.issubdtype(rows.dtype, np.number) or np.iscomplexobj(rows):
        raise MeshError(f"'{path}' holds {rows.dtype} values instead of numbers", "wrong type")
    return rows[:, :3].astype(np.float64), _colors_of(rows[:, 3:6])


def _colors_of(columns: np.ndarray) -> np.ndarray | None:
    """Three columns in 0..1 or whole numbers in 0..255 are colours; normals, which go below 0, are not."""
    if columns.shape[1] < 3 or not len(columns) or not np.isfinite(columns).all() or columns.min() < 0:
        return None
    top = columns.max()
    if top <= 1:
        return columns.astype(np.float32)
    is_whole = bool((columns == np.round(columns)).all())
    return (columns / 255).astype(np.float32) if top <= 255 and is_whole else None


def _thin(pieces: Iterator[Cloud], total: int, max_points: int, seed: int) -> Cloud:
    """Keeps an even draw of `max_points` out of `total` points that come in pieces."""
    keep = None
    if total > max_points:
        random = np.random.RandomState(seed)
        # One in each of `max_points` equal parts of the file.
        keep = (np.arange(max_points) + random.random_sample(max_points)) * (total / max_points)
        keep = np.minimum(keep.astype(np.int64), total - 1)
    points, colors, start = [], [], 0
    for xyz, rgb in pieces:
        rows: Any = slice(None)
        if keep is not None:
            rows = keep[np.searchsorted(keep, start) : np.searchsorted(keep, start + len(xyz))] - start
        start += len(xyz)
        points.append(xyz[rows])
        if rgb is not None:
            colors.append(rgb[rows])
    if not points:
        return np.zeros((0, 3)), None
    return np.concatenate(points), np.concatenate(colors) if len(colors) == len(points) else None


def _read_npy(path: Path, max_points: int, seed: int) -> Cloud:
    rows = read_npy(path)
    return _thin(iter([split_columns(rows, path)]), len(rows), max_points, seed)


def _read_npz(path: Path, max_points: int, seed: int) -> Cloud:
    try:
        found = read_npz(path)
    except (OSError, ValueError) as error:
        raise MeshError(f"'{path}' is no .npz file that can be read ({error})", "damaged") from error
    arrays = {name: values for name, values in found.items() if name in (*NAMES, *COLOR_NAMES)}
    return _from_arrays(arrays, list(found), path, max_points, seed)


def _read_h5(path: Path, max_points: int, seed: int) -> Cloud:
    with open_hdf5(path) as file:
        arrays = {name: file.read(name) for name in file if name in (*NAMES, *COLOR_NAMES)}
        names = list(file)
    return _from_arrays(arrays, names, path, max_points, seed)


def _from_arrays(arrays: dict[str, np.ndarray], names: list[str], path: Path, max_points: int, seed: int) -> Cloud:
    name = next((name for name in NAMES if name in arrays), None)
    if name is None:
        raise MeshError(f"'{path}' has none of the arrays {', '.join(NAMES)}, but {', '.join(names[:8])}", "no points")
    points, colors = split_columns(arrays[name], path)
    given = next((arrays[key] for key in COLOR_NAMES if key in arrays), None)
    if given is not None and given.shape == (len(points), 3):
        colors = _colors_of(np.asarray(given, np.float64))
    return _thin(iter([(points, colors)]), len(points), max_points, seed)


def _read_text(path: Path, max_points: int, seed: int) -> Cloud:
    """Rows of numbers between spaces, tabs, commas or semicolons; header lines and a leading count are skipped."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            head = [line for _, line in zip(range(50), file, strict=False)]
    except OSError as error:
        raise MeshError(f"'{path}' cannot be read: {error.strerror}", "unreadable") from error
    separator = next((sign for sign in (",", ";") if any(sign in line for line in head)), r"\s+")
    skip = next((row for row, line in enumerate(head) if _is_row(line, separator)), None)
    if skip is None:
        raise MeshError(f"'{path}' has no line of three numbers among its first {len(head)}", "no points")
    try:
        delimiter = None if separator == r"\s+" else separator
        with path.open(encoding="utf-8", errors="replace") as file:
            table = np.loadtxt(file, delimiter=delimiter, skiprows=skip, comments="#", ndmin=2)
    except ValueError as error:
        raise MeshError(f"'{path}' has a line that is not made of numbers ({str(error)[:80]})", "malformed") from error
    table = _in_order(table, head[skip - 1] if skip else "", separator, path)
    points, colors = split_columns(table, path)
    if colors is None and table.shape[1] >= 7:  # x y z intensity r g b, as in .pts files
        colors = _colors_of(table[:, 4:7])
    return _thin(iter([(points, colors)]), len(points), max_points, seed)


def _in_order(table: np.ndarray, header: str, separator: str, path: Path) -> np.ndarray:
    """(N, C) -> (N, 3 or 6): x y z and the colours that a header line names; the table where it names no x y z."""
    line = header.strip().lower()
    is_comment = line.startswith(("#", "//"))
    parts = line.lstrip("#/ ").split(None if separator == r"\s+" else separator)
    names = [part.strip().strip("\"'") for part in parts]
    if not {"x", "y", "z"} <= set(names) or (is_comment and len(names) != table.shape[1]):
        return table
    if len(names) != table.shape[1]:
        raise MeshError(
            f"'{path}' names {len(names)} columns and has {table.shape[1]}; give each column a name", "malformed"
        )
    colors = next((triple for triple in COLUMN_NAMES if set(triple) <= set(names)), ())
    return table[:, [names.index(name) for name in (*"xyz", *colors)]]


def _is_row(line: str, separator: str) -> bool:
    parts = line.split() if separator == r"\s+" else line.split(separator)
    try:
        return len([float(part) for part in parts if part.strip()]) >= 3
    except ValueError:
        return False


def _read_las(path: Path, max_points: int, seed: int) -> Cloud:
    laspy = _package("laspy", path)

    def pieces(reader: Any) -> Iterator[Cloud]:
        for part in reader.chunk_iterator(PIECE):
            xyz = np.stack([part.x, part.y, part.z], axis=1).astype(np.float64)
            names = set(part.point_format.dimension_names)
            rgb = None
            if {"red", "green", "blue"} <= names:
                rgb = np.stack([part.red, part.green, part.blue], axis=1).astype(np.float32)
            yield xyz, rgb

    try:
        with laspy.open(path) as reader:
            points, colors = _thin(pieces(reader), reader.header.point_count, max_points, seed)
    except (laspy.errors.LaspyException, ValueError, OSError, RuntimeError) as error:
        raise MeshError(f"'{path}' is no LAS file that can be read ({str(error)[:100]})", "damaged") from error
    if colors is not None:  # 16 bits, but many programs write 8
        colors = colors / (255.0 if colors.max(initial=0) <= 255 else 65535.0)
    return points, colors


def _read_e57(path: Path, max_points: int, seed: int) -> Cloud:
    pye57 = _package("pye57", path)
    try:
        file = pye57.E57(str(path))
        scans = [file.read_scan(number, ignore_missing_fields=True, colors=True) for number in range(file.scan_count)]
    except Exception as error:  # noqa: BLE001  (the library raises a class of its own per mistake)
        raise MeshError(f"'{path}' is no E57 file that can be read ({str(error)[:100]})", "damaged") from error
    parts: list[Cloud] = []
    for scan in scans:
        xyz = np.stack([scan[f"cartesian{axis}"] for axis in "XYZ"], axis=1).astype(np.float64)
        names = [f"color{name}" for name in ("Red", "Green", "Blue")]
        rgb = np.stack([scan[name] for name in names], axis=1) / 255 if all(name in scan for name in names) else None
        parts.append((xyz, None if rgb is None else rgb.astype(np.float32)))
    return _thin(iter(parts), sum(len(xyz) for xyz, _ in parts), max_points, seed)


def _read_pcd(path: Path, max_points: int, seed: int) -> Cloud:
    from pointrecon.datasets.folder.pcd import read_pcd

    points, colors = read_pcd(path)
    return _thin(iter([(points, colors)]), len(points), max_points, seed)


def _package(name: str, path: Path) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MeshError(
            f"'{path}' needs the package {name}; run: pip install 'pointrecon[meshes]'", "missing package"
        ) from error


POINT_READERS: dict[str, Callable[[Path, int, int], Cloud]] = {
    ".csv": _read_text,
    ".e57": _read_e57,
    ".h5": _read_h5,
    ".hdf5": _read_h5,
    ".las": _read_las,
    ".laz": _read_las,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".pcd": _read_pcd,
    ".pts": _read_text,
    ".txt": _read_text,
    ".xyz": _read_text,
}
