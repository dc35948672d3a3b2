"""Ways to spoil a valid file: blind ones for any file, and ones that know what is in it.

Every function takes the generator of the case and gives the same result for the same state of it.
"""

import json
import math
import random
import re
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pointrecon.utils.files.checks.hdf5_heap import check_heaps

EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
VALUES = (
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    10**400,
    0.5,
    -1e308,
    math.nan,
    math.inf,
    "",
    "text",
    "\0",
    "../x",
    b"\xff",
    [],
    {},
)
TOKENS = (
    *("null", "true", "~", "-1", "0", "1e400", ".nan", ".inf", "9" * 5000, "0x7fffffffffffffff", "1_000", "12:30:45"),
    *("2001-99-99", "!!python/object/apply:os.system [x]", "!!binary 'a'", "!!set {a}", "!!timestamp x", "!!int x"),
    *(
        "&a",
        "*a",
        "<<: *a",
        "? ",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "|",
        ">",
        "'",
        '"',
        "#",
        "%TAG",
        "---",
        "...",
        "@",
        "`",
    ),
    *(
        "\t",
        "\r",
        "\0",
        "\x85",
        "\u2028",
        "\ud7ff",
        "\ufeff",
        "_base_: .",
        "_base_: [x, x]",
        "__class__: 1",
        "items: 1",
    ),
    *("{" * 300, "[" * 300, "a: " * 50, "\\", "/", "..", "%s", "{}", "a" * 3000),
)
DTYPES = ("f2", "f4", "f8", ">f4", "i1", "i8", "u8", "?", "c8", "S3")


def spoil_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flips bits, cuts, swaps, repeats, or writes extreme numbers."""
    kind = rng.choice(("flip", "flip", "number", "number", "cut", "swap", "repeat", "zero", "insert", "drop"))
    spoilt = bytearray(data or b"\0")
    place = rng.randrange(len(spoilt))
    length = min(rng.choice((1, 4, 16, 100, 1000)), len(spoilt) - place)
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 1, 4, 30))):
            spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    elif kind == "number":
        size = rng.choice((1, 2, 4, 8))
        value = rng.choice(EXTREMES) & (1 << 8 * size) - 1
        spoilt[place : place + size] = value.to_bytes(size, rng.choice(("little", "big")))
    elif kind == "cut":
        del spoilt[place:]
    elif kind == "swap":
        other = rng.randrange(len(spoilt))
        spoilt[place : place + length], spoilt[other : other + length] = (
            spoilt[other : other + length],
            spoilt[place : place + length],
        )
    elif kind == "repeat":
        spoilt[place:place] = spoilt[place : place + length] * rng.choice((1, 3, 50))
    elif kind == "zero":
        spoilt[place : place + length] = bytes([rng.choice((0, 255))]) * length
    elif kind == "insert":
        spoilt[place:place] = rng.randbytes(length)
    else:
        del spoilt[place : place + length]
    return bytes(spoilt)


def spoil_text(text: str, rng: random.Random) -> str:
    """Removes, repeats, swaps and replaces words, signs and lines."""
    pieces = re.findall(r"\s+|\w+|[^\w\s]", text) or [""]
    for _ in range(rng.choice((1, 1, 2, 5))):
        place, other = rng.randrange(len(pieces)), rng.randrange(len(pieces))
        kind = rng.choice(("drop", "repeat", "swap", "token", "token", "insert", "line"))
        if kind == "drop" and len(pieces) > 1:
            del pieces[place]
        elif kind == "repeat":
            pieces.insert(place, pieces[other])
        elif kind == "swap":
            pieces[place], pieces[other] = pieces[other], pieces[place]
        elif kind == "token":
            pieces[place] = rng.choice(TOKENS)
        elif kind == "insert":
            pieces.insert(place, rng.choice(TOKENS))
        else:
            lines = "".join(pieces).splitlines(keepends=True) or [""]
            lines.insert(rng.randrange(len(lines)), rng.choice(lines) + rng.choice(("", "  ", "\n")))
            pieces = re.findall(r"\s+|\w+|[^\w\s]", "".join(lines)) or [""]
    return "".join(pieces)


def spoil_array(values: np.ndarray, rng: random.Random) -> Any:
    """Changes the type, the shape or some values of an array."""
    kind = rng.choice(("dtype", "shape", "rows", "value", "value", "value", "empty", "flat", "axis", "constant"))
    if kind == "dtype":
        with np.errstate(all="ignore"):
            return values.astype(rng.choice(DTYPES)) if values.dtype.kind in "biuf" else values
    if kind == "shape":
        return values.reshape(-1)[: rng.randrange(values.size + 1)]
    if kind == "rows":
        return values[: rng.randrange(len(values) + 1)] if values.ndim else values[None]
    if kind == "empty":
        return values[..., :0] if values.ndim else np.empty(0, values.dtype)
    if kind == "flat":
        return values.T
    if kind == "axis":
        return values[None]
    if kind == "constant" or values.dtype.kind not in "biuf" or not values.size:
        return np.zeros_like(values)
    spoilt = values.copy()
    extremes = (math.nan, math.inf, -math.inf, 3e38, 1e16) if values.dtype.kind == "f" else (-1, 100, 127)
    with np.errstate(all="ignore"):
        spoilt.reshape(-1)[rng.randrange(values.size)] = rng.choice(extremes)
    return spoilt


def spoil_tree(value: Any, rng: random.Random, spoil_leaf: Callable[[Any, random.Random], Any]) -> Any:
    """Changes one place of nested containers; those on the way to it are copied."""
    is_container = isinstance(value, (dict, list, tuple)) and len(value)
    if not is_container or rng.random() < 0.08:
        return spoil_leaf(value, rng)
    if isinstance(value, dict):
        spoilt = dict(value)
        key = rng.choice(list(spoilt))
        kind = rng.choice(("deeper",) * 6 + ("drop", "rename", "add"))
        if kind == "deeper":
            spoilt[key] = spoil_tree(spoilt[key], rng, spoil_leaf)
        elif kind == "drop":
            del spoilt[key]
        elif kind == "rename":
            spoilt[rng.choice((0, None, "", "x", f"{key}.", f"module.{key}", ("a", 1), str(key)[1:]))] = spoilt.pop(key)
        else:
            spoilt[rng.choice(("x", 0, "encoder.x", "_base_"))] = rng.choice((*VALUES, spoilt))
        return spoilt
    items = list(value)
    place = rng.randrange(len(items))
    kind = rng.choice(("deeper",) * 6 + ("drop", "repeat", "swap", "kind"))
    if kind == "deeper":
        items[place] = spoil_tree(items[place], rng, spoil_leaf)
    elif kind == "drop":
        del items[place]
    elif kind == "repeat":
        items.insert(place, items[place])
    elif kind == "swap":
        other = rng.randrange(len(items))
        items[place], items[other] = items[other], items[place]
    else:
        return items if isinstance(value, tuple) else dict(enumerate(items))
    return tuple(items) if isinstance(value, tuple) else items


def spoil_leaf(value: Any, rng: random.Random) -> Any:
    """Replaces something in a container, arrays preferably by similar ones."""
    if isinstance(value, np.ndarray) and rng.random() < 0.7:
        return spoil_array(value, rng)
    if rng.random() < 0.2:
        bomb: Any = rng.choice(([1, 2, 3], (1, 2, 3), {"a": 1}))
        for _ in range(40):
            bomb = rng.choice(([bomb, bomb], (bomb, bomb)))
        return rng.choice((bomb, {"a": bomb}, [value, value]))
    return rng.choice(VALUES)


def spoil_hdf5(path: Path, rng: random.Random) -> None:
    """Changes one thing in an HDF5 file: a data set, a link, an attribute."""
    data = path.read_bytes()
    check_heaps(data, [(0, len(data))])  # an earlier change may have made a file that the library never ends to read
    with h5py.File(path, "a") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        if not names:
            return
        name = rng.choice(names)
        if rng.random() < 0.15:
            _spoil_attribute(rng.choice((file, file[name].parent)), rng)
            return
        values = file[name][()]
        is_numeric = isinstance(values, np.ndarray) and values.dtype.kind in "biuf"
        if is_numeric and rng.random() < 0.5:
            values = spoil_array(values, rng)
            options = {"compression": "gzip"} if values.size and values.ndim and rng.random() < 0.3 else {}
            del file[name]
            file.create_dataset(name, data=values, **options)
            return
        del file[name]
        _replace(file, name, values, rng)


def _replace(file: h5py.File, name: str, values: Any, rng: random.Random) -> None:
    kind = rng.choice(
        ("gone", "group", "soft", "external", "storage", "virtual", "huge", "texts", "bytes", "scalar", "few")
    )
    if kind == "group":
        file.create_group(name)
    elif kind == "soft":
        file[name] = h5py.SoftLink(rng.choice(("/", f"/{name}", "/points", "/nothing")))
    elif kind == "external":
        file[name] = h5py.ExternalLink(rng.choice(("other.h5", "/etc/passwd", Path(file.filename).name)), "/points")
    elif kind == "storage":
        file.create_dataset(name, (4, 16, 3), "f4", external=[(rng.choice(("/etc/passwd", "other")), 0, 768)])
    elif kind == "virtual":
        layout = h5py.VirtualLayout((4, 16, 3), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "points", (4, 16, 3))
        file.create_virtual_dataset(name, layout)
    elif kind == "huge":
        shape = rng.choice(((10**12, 3), (10**6, 16, 3), (1 << 40,), (10**9, 1000, 3)))
        options = rng.choice(({}, {"compression": "gzip"})) if len(shape) > 1 else {"chunks": (1 << 20,)}
        file.create_dataset(name, shape, rng.choice(("f4", "i8")), **options)
    elif kind == "texts":
        file.create_dataset(name, data=["text"] * rng.choice((1, 10)), dtype=h5py.string_dtype())
    elif kind == "bytes":
        data = file.create_dataset(name, (10,), h5py.vlen_dtype(rng.choice((np.uint8, np.float32))))
        data[3] = np.arange(5)
    elif kind == "scalar":
        file[name] = rng.choice((1, 0.5, "text", np.bytes_(b"\xff")))
    elif kind == "few" and isinstance(values, np.ndarray):
        texts = values.astype(object)[: rng.randrange(len(values) + 1)] if values.ndim else values
        if values.dtype.kind == "O":
            file.create_dataset(
                name,
                data=texts,
                dtype=h5py.string_dtype() if isinstance(values[0], bytes) else h5py.vlen_dtype(np.uint8),
            )


def _spoil_attribute(item: Any, rng: random.Random) -> None:
    names = list(item.attrs)
    name = rng.choice(names) if names else "format"
    choices = (
        "",
        "text",
        0,
        -1,
        2**62,
        0.5,
        np.nan,
        [1, 2],
        ["a", "a"],
        np.zeros((2, 2)),
        b"\xff\xfe",
        h5py.Empty("f4"),
    )
    if rng.random() < 0.3 and names:
        del item.attrs[name]
    else:
        item.attrs[name] = rng.choice((*choices, "[1]", "null", '[["..", 1, 2]]', '[["\\u0000", 1, 2]]', "[" * 5000))


def spoil_zip(data: bytes, rng: random.Random) -> bytes:
    """Changes one record of an archive, so that the archive itself stays sound."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        records = [(info.filename, archive.read(info)) for info in archive.infolist()]
    place = rng.randrange(len(records)) if rng.random() < 0.4 else 0
    name, content = records[place]
    kind = rng.choice(("bytes",) * 6 + ("drop", "rename", "twice", "deflate"))
    if kind == "bytes":
        records[place] = name, spoil_bytes(content, rng)
    elif kind == "drop":
        del records[place]
    elif kind == "rename":
        records[place] = rng.choice(("../../x", f"{name}x", "data.pkl", "a/constants.pkl")), content
    elif kind == "twice":
        records.append((f"x/{name}", content))
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED if kind == "deflate" else zipfile.ZIP_STORED) as archive:
        for name, content in records:
            archive.writestr(name, content)
    return target.getvalue()


def spoil_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Changes the header, whose length stays right."""
    (length,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + length].decode()
    if rng.random() < 0.5:
        header = json.dumps(
            spoil_tree(json.loads(header), rng, lambda value, rng: rng.choice(VALUES[:-3])), default=str, skipkeys=True
        )
    else:
        header = spoil_text(header, rng)
    raw = header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(raw)) + raw + data[8 + length :]
