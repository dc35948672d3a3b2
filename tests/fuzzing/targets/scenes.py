"""What is fuzzed of scenes and of the formats that other libraries parse: COLLADA, glTF, PLY, OFF, binary STL."""

import copy
import functools
import json
import random
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tests.datasets.meshes.readers import test_collada as collada
from tests.fuzzing.forms import Form
from tests.fuzzing.mutations import spoil_bytes, spoil_text, spoil_tree
from tests.fuzzing.targets.meshes import _picture, read_any

_CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], "<f4")
GLTF_BYTES = _CORNERS.tobytes() + np.array([0, 1, 2, 0, 2, 3], "<u2").tobytes()
GLTF: dict[str, Any] = {
    "asset": {"version": "2.0"},
    "scene": 0,
    "scenes": [{"nodes": [0]}],
    "nodes": [{"children": [1]}, {"mesh": 0, "translation": [1, 0, 0]}],
    "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
    "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1], "baseColorTexture": {"index": 0}}}],
    "textures": [{"source": 0}],
    "images": [{"uri": "t.png"}],
    "accessors": [
        {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
        {"bufferView": 1, "componentType": 5123, "count": 6, "type": "SCALAR"},
    ],
    "bufferViews": [
        {"buffer": 0, "byteOffset": 0, "byteLength": 48},
        {"buffer": 0, "byteOffset": 48, "byteLength": 12},
    ],
    "buffers": [{"byteLength": 60, "uri": "data.bin"}],
}
NUMBERS = (
    -1,
    0,
    1,
    2,
    7,
    255,
    2**31,
    10**8,
    10**12,
    0.5,
    1e308,
    float("nan"),
    True,
    None,
    "0",
    [],
    [0],
    {},
    5121,
    5125,
)
WORDS = (
    "VEC2",
    "VEC4",
    "SCALAR",
    "MAT4",
    "../../a",
    "/dev/zero",
    "data:,",
    "data:a;base64,AAAA",
    "",
    "data.bin",
    3,
    None,
)
PLY = "ply\nformat {kind} 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
PLY += "property uchar red\nproperty uchar green\nproperty uchar blue\nelement face 2\n"
PLY += "property list uchar int vertex_indices\nend_header\n"
PLY_WORDS = (
    "list uchar int",
    "list int uchar",
    "list float double",
    "double",
    "char",
    "int64",
    "element face 9\n",
    "-1",
)
PLY_WORDS += (
    "element edge 1\nproperty int a\n",
    "99999999999",
    "comment TextureFile /dev/zero\n",
    "element vertex 0\n",
)
XML_WORDS = ("-1", "0", "99999999999", "1e400", "nan", "#g", "#p", "", "v", "0 " * 2000, "4294967296 -1", "XYZ", "&a;")


def make_glb(document: dict[str, Any], data: bytes) -> bytes:
    """A .glb file."""
    held = copy.deepcopy(document)
    if isinstance(held, dict) and isinstance(held.get("buffers"), list) and held["buffers"]:
        if isinstance(held["buffers"][0], dict):
            held["buffers"][0].pop("uri", None)
    text = json.dumps(held).encode()
    text += b" " * (-len(text) % 4)
    parts = struct.pack("<I", len(text)) + b"JSON" + text + struct.pack("<I", len(data)) + b"BIN\0" + data
    return b"glTF" + struct.pack("<II", 2, 12 + len(parts)) + parts


def write(folder: Path, kind: str) -> None:
    """A valid file of a kind, with what it names beside it."""
    if kind in ("gltf", "glb", "dae"):
        (folder / "t.png").write_bytes(_picture())
    if kind == "gltf":
        (folder / "a.gltf").write_text(json.dumps(GLTF))
        (folder / "data.bin").write_bytes(GLTF_BYTES)
    elif kind == "glb":
        (folder / "a.glb").write_bytes(make_glb(GLTF, GLTF_BYTES))
    elif kind == "dae":
        nodes = collada.LONG.format(placed=collada.PLACED)
        (folder / "a.dae").write_bytes(collada.dae(nodes=nodes, image="t.png"))
    elif kind == "off":
        (folder / "a.off").write_text("OFF\n5 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n0 0 1\n4 0 1 2 3\n3 0 1 4 255 0 0\n")
    elif kind == "stl":
        (folder / "a.stl").write_bytes(bytes(80) + struct.pack("<I12fH", 1, 0, 0, 1, *_CORNERS[:3].ravel(), 0))
    else:
        _write_ply(folder, kind)


def _write_ply(folder: Path, kind: str) -> None:
    faces = [(0, 1, 2, 3), (0, 1, 3)] if "polygons" in kind else [(0, 1, 2), (0, 1, 3)]
    if "ascii" in kind:
        lines = [" ".join(f"{value:g}" for value in corner) + " 255 0 0" for corner in _CORNERS]
        lines += [" ".join(map(str, (len(face), *face))) for face in faces]
        (folder / "a.ply").write_text(PLY.format(kind="ascii") + "\n".join(lines) + "\n")
        return
    order, name = (">", "binary_big_endian") if "big" in kind else ("<", "binary_little_endian")
    data = b"".join(struct.pack(f"{order}3f3B", *corner, 255, 0, 0) for corner in _CORNERS)
    data += b"".join(struct.pack(f"{order}B{len(face)}i", len(face), *face) for face in faces)
    (folder / "a.ply").write_bytes(PLY.format(kind=name).encode() + data)


def spoil(path: Path, rng: random.Random) -> None:
    """Changes fields of a document, words of a header, elements, or bytes."""
    data = path.read_bytes()
    if rng.random() < 0.15 or path.suffix in (".bin", ".stl", ".png"):
        path.write_bytes(spoil_bytes(data, rng))
    elif path.suffix == ".gltf":
        path.write_text(json.dumps(_spoil_gltf(json.loads(data), rng)))
    elif path.suffix == ".glb":
        length = int.from_bytes(data[12:16], "little")
        document = _spoil_gltf(json.loads(data[20 : 20 + length]), rng)
        path.write_bytes(make_glb(document, data[28 + length :]))
    elif path.suffix == ".dae":
        path.write_text(spoil_xml(data.decode("utf-8", "replace"), rng), encoding="utf-8")
    elif path.suffix == ".ply":
        head, end, body = data.partition(b"end_header\n")
        text = head.decode("latin1")
        words = list(re.finditer(r"\S+", text))
        word = rng.choice(words)
        text = text[: word.start()] + rng.choice(PLY_WORDS) + text[rng.choice((word.start(), word.end())) :]
        path.write_bytes(text.encode("latin1") + end + (spoil_bytes(body, rng) if rng.random() < 0.3 else body))
    else:
        path.write_text(spoil_text(data.decode("latin1"), rng), encoding="utf-8", errors="replace")


def _spoil_gltf(document: Any, rng: random.Random) -> Any:
    if rng.random() < 0.2:  # nodes that name each other
        nodes = [{"children": [rng.randrange(6), rng.randrange(6)]} for _ in range(5)]
        return document | {"nodes": [*nodes, {"mesh": 0}]}
    return spoil_tree(document, rng, lambda value, rng: rng.choice(WORDS if isinstance(value, str) else NUMBERS))


def spoil_xml(text: str, rng: random.Random) -> str:
    """Drops, repeats or moves elements, changes attributes and what stands between tags."""
    kind = rng.choice(("drop", "repeat", "move", "attribute", "attribute", "number", "number", "tag"))
    elements = list(re.finditer(r"<(\w+)[^<>]*?(/>|>[^<>]*</\1>)", text))
    if kind in ("drop", "repeat", "move") and elements:
        found = rng.choice(elements)
        if kind != "repeat":
            text = text[: found.start()] + text[found.end() :]
        if kind != "drop":
            places = [match.end() for match in re.finditer(r">", text)]
            place = rng.choice(places)
            text = text[:place] + found.group() * rng.choice((1, 1, 30)) + text[place:]
        return text
    pattern = {"attribute": r'"[^"<>]*"', "number": r"(?<=[ >])-?[\d.]+(?=[ <])", "tag": r"(?<=<)\w+"}
    found = rng.choice(list(re.finditer(pattern.get(kind, r"\w+"), text)))
    word = rng.choice(XML_WORDS)
    return text[: found.start()] + (f'"{word}"' if kind == "attribute" else word) + text[found.end() :]


KINDS = ("dae", "dae", "gltf", "gltf", "glb", "off", "stl", "ply ascii", "ply ascii, polygons", "ply binary")
KINDS += ("ply binary, polygons", "ply binary, big, polygons")
FORMS = tuple(Form(kind, functools.partial(write, kind=kind), read_any, spoil) for kind in dict.fromkeys(KINDS))
