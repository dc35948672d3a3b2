"""The PCD format of the Point Cloud Library, versions 0.5 to 0.7: ascii, binary and binary_compressed (LZF).

https://pcl.readthedocs.io/projects/tutorials/en/latest/pcd_file_format.html
"""

import math
import struct
from pathlib import Path

import numpy as np

from pointrecon.datasets.meshes.mesh import MeshError

_KINDS = {"F": "f", "I": "i", "U": "u"}
_COLORS = ("rgb", "rgba")
MAX_POINTS = 200_000_000


def read_pcd(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads a file.

    Returns:
        points (N, 3) float64 without those that are not finite (PCD marks missing ones so), colours (N, 3) in 0..1.

    Raises:
        MeshError: It is no such file, is shorter than it claims, or has no x, y and z.
    """
    data = path.read_bytes()
    header, start = _read_header(data, path)
    try:
        names = header["FIELDS"]
        sizes, kinds = [int(size) for size in header["SIZE"]], header["TYPE"]
        counts = [int(count) for count in header.get("COUNT", ["1"] * len(names))]
        sides = [header["POINTS"]] if header.get("POINTS") else [header["WIDTH"], header.get("HEIGHT", ["1"])]
        points = math.prod(int(side[0]) for side in sides)
        fields = [
            (f"{name}.{row}", f"<{_KINDS[kind]}{size}", (count,))
            for row, (name, size, kind, count) in enumerate(zip(names, sizes, kinds, counts, strict=True))
        ]
        dtype = np.dtype(fields)
        mode = header["DATA"][0]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise MeshError(f"'{path}' has a PCD header that cannot be read ({error})", "malformed") from error
    if not 0 <= points <= MAX_POINTS or not {"x", "y", "z"} <= set(names):
        raise MeshError(f"'{path}' claims {points} points with the fields {' '.join(names)}", "malformed")
    if min(counts) < 1:
        raise MeshError(f"'{path}' has a field of {min(counts)} values (COUNT)", "malformed")
    if mode == "ascii":
        columns = _read_ascii(data[start:], dtype, points, names, path)
    elif mode == "binary":
        columns = _split(data[start:], dtype, points, names, path)
    elif mode == "binary_compressed":
        columns = _read_compressed(data[start:], dtype, points, names, path)
    else:
        raise MeshError(f"'{path}' has PCD data of the unknown kind '{mode}'", "malformed")
    xyz = np.stack([np.asarray(columns[axis], np.float64).reshape(-1) for axis in "xyz"], axis=1)
    kept = np.atleast_1d(np.isfinite(xyz).all(axis=1))
    return xyz[kept], _colors(columns, kept)


def _read_header(data: bytes, path: Path) -> tuple[dict[str, list[str]], int]:
    header: dict[str, list[str]] = {}
    start = 0
    for _ in range(64):
        end = data.find(b"\n", start)
        if end < 0:
            break
        words = data[start:end].decode("ascii", "replace").split()
        start = end + 1
        if words and not words[0].startswith("#"):
            header[words[0].upper()] = words[1:]
            if words[0].upper() == "DATA":
                return header, start
    raise MeshError(f"'{path}' has no PCD header", "malformed")


def _read_ascii(data: bytes, dtype: np.dtype, points: int, names: list[str], path: Path) -> dict[str, np.ndarray]:
    try:
        table = np.loadtxt(data.decode("ascii", "replace").splitlines(), ndmin=2)
    except ValueError as error:
        raise MeshError(f"'{path}' has a line that is not made of numbers ({str(error)[:80]})", "malformed") from error
    kinds = [dtype[field].subdtype or (dtype[field], (1,)) for field in dtype.names or ()]
    width = sum(shape[0] for _, shape in kinds)
    if table.shape[1] != width:
        raise MeshError(f"'{path}' has {table.shape[1]} columns, but its header names {width}", "malformed")
    if len(table) != points:
        raise MeshError(f"'{path}' has {len(table)} lines of numbers, but claims {points} points", "truncated")
    columns, start = {}, 0
    for name, (base, shape) in zip(names, kinds, strict=True):
        values = table[:, start]
        # A whole number that is a colour has other bits than the float of its value.
        columns[name] = np.nan_to_num(values).astype(np.int64) if name in _COLORS and base.kind in "iu" else values
        start += shape[0]
    return columns


def _split(data: bytes, dtype: np.dtype, points: int, names: list[str], path: Path) -> dict[str, np.ndarray]:
    if len(data) < points * dtype.itemsize:
        raise MeshError(f"'{path}' ends early: {points} points of {dtype.itemsize} bytes are claimed", "truncated")
    rows = np.frombuffer(data, dtype, points)
    return {name: rows[field][:, 0] for name, field in zip(names, dtype.names or (), strict=True)}


def _read_compressed(data: bytes, dtype: np.dtype, points: int, names: list[str], path: Path) -> dict[str, np.ndarray]:
    """All values of one field stand together, and LZF packs the whole."""
    if len(data) < 8:
        raise MeshError(f"'{path}' ends early", "truncated")
    packed, size = struct.unpack("<II", data[:8])
    if size != points * dtype.itemsize or packed > len(data) - 8:
        raise MeshError(f"'{path}' claims {size} bytes for {points} points of {dtype.itemsize}", "truncated")
    plain = _unpack_lzf(data[8 : 8 + packed], size, path)
    columns, start = {}, 0
    for name, field in zip(names, dtype.names or (), strict=True):
        base, shape = dtype[field].subdtype or (dtype[field], (1,))
        count = points * shape[0]
        columns[name] = np.frombuffer(plain, base, count, start).reshape(points, -1)[:, 0]
        start += count * base.itemsize
    return columns


def _unpack_lzf(data: bytes, size: int, path: Path) -> bytes:
    """Marc Lehmann's LZF: a control byte below 32 copies that many bytes and one more, others repeat earlier output."""
    out, at = bytearray(), 0
    try:
        while at < len(data):
            control = data[at]
            at += 1
            if control < 32:
                out += data[at : at + control + 1]
                at += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += data[at]
                at += 1
            back = ((control & 31) << 8) + data[at] + 1
            at += 1
            length += 2
            if back > len(out):
                raise IndexError("a reference before the beginning")
            if back >= length:
                out += out[len(out) - back : len(out) - back + length]
            else:
                for _ in range(length):
                    out.append(out[-back])
            if len(out) > size:
                raise IndexError("more bytes than claimed")
    except IndexError as error:
        raise MeshError(f"'{path}' has damaged compressed data ({error})", "damaged") from error
    if len(out) != size:
        raise MeshError(f"'{path}' unpacks to {len(out)} bytes instead of {size}", "damaged")
    return bytes(out)


def _colors(columns: dict[str, np.ndarray], kept: np.ndarray) -> np.ndarray | None:
    """`rgb` is three bytes in the bits of a float or a whole number."""
    packed = next((columns[name] for name in _COLORS if name in columns), None)
    if packed is None:
        return None
    values = np.ascontiguousarray(packed).reshape(-1)[kept]
    if values.dtype.kind == "f":
        values = values.astype(np.float32).view(np.uint32)
    values = values.astype(np.uint32)
    return np.stack([(values >> shift & 255) for shift in (16, 8, 0)], axis=1).astype(np.float32) / 255
