"""Validates indices, counts and sizes of a glTF file before trimesh reads it.

https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

import importlib.util
import math
from pathlib import Path
from typing import Any

from pointrecon.datasets.meshes.mesh import MAX_ELEMENTS, MeshError
from pointrecon.utils.files.checks.limits import LimitError, check_growth
from pointrecon.utils.files.json_text import MAX_JSON_BYTES, JsonError, parse_json

MAX_NODES = 10_000  # of a scene; trimesh takes half a millisecond for each
ITEM_BYTES = 64  # of what has most: a matrix of 4 x 4 floats
COMPRESSED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression")


def check_gltf(path: Path) -> int:
    """Refuses a .glb or .gltf file that names what is not there, or becomes far larger than it is.

    Returns:
        How many parts (primitives) its nodes place, those outside of its scene among them.

    Raises:
        MeshError: It is such a file, or its JSON cannot be read.
        OSError: The file cannot be read.
    """
    try:
        document = parse_json(_read_json(path))
        if not isinstance(document, dict):
            raise ValueError("its JSON is no object")
        return _Document(document).check(path.stat().st_size)
    except (JsonError, LimitError, ValueError, LookupError, TypeError, AttributeError) as error:
        text = " ".join(str(error).split())[:120] or type(error).__name__
        raise MeshError(f"'{path}' is no {path.suffix.lower()} file that can be read ({text})", "damaged") from error


def _read_json(path: Path) -> bytes:
    """The JSON of a file: all of a .gltf, the first part of a .glb."""
    with path.open("rb") as file:
        length = MAX_JSON_BYTES + 1
        if path.suffix.lower() == ".glb":
            head = file.read(20)
            length = int.from_bytes(head[12:16], "little")
            if head[:4] != b"glTF" or head[16:] != b"JSON":
                raise ValueError("it does not begin like one of version 2")
        if length > MAX_JSON_BYTES + 1 or len(text := file.read(length)) > MAX_JSON_BYTES:
            raise ValueError(f"it has more than {MAX_JSON_BYTES >> 20} MB of JSON")
    return text


class _Document:
    """The lists of a document, whose items name each other by their places."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.lists = {name: value for name, value in document.items() if isinstance(value, list)}
        self.needed = [*document.get("extensionsRequired", []), *document.get("extensionsUsed", [])]

    def check(self, num_bytes: int) -> int:
        """Looks at all of it; a file has `num_bytes`. Returns the number of parts that its nodes place."""
        empty = 0
        for view in self.lists.get("bufferViews", []):
            self.find("buffers", view["buffer"])
            _count(view.get("byteOffset", 0)), _count(view["byteLength"])
        for accessor in self.lists.get("accessors", []):
            count = _count(accessor["count"])
            if "bufferView" in accessor:
                self.find("bufferViews", accessor["bufferView"])
            else:
                empty += count * ITEM_BYTES
        check_growth(empty, num_bytes)
        rows = [self.check_mesh(mesh) for mesh in self.lists.get("meshes", [])]
        nodes = self.lists.get("nodes", [])
        if len(nodes) > MAX_NODES:
            raise ValueError(f"it has {len(nodes):,} nodes; {MAX_NODES:,} are allowed")
        for holder in (*nodes, *({"children": scene.get("nodes", [])} for scene in self.lists.get("scenes", []))):
            for child in holder.get("children", []):
                self.find("nodes", child)
            if not all(map(math.isfinite, (number for name in _PLACES for number in holder.get(name, [])))):
                raise ValueError("the transform of a node is not finite")
        placed = [self.find("meshes", node["mesh"]) for node in nodes if "mesh" in node]
        total = sum(rows) + sum(rows[place] for place in placed)
        if total > 2 * MAX_ELEMENTS:
            raise ValueError(f"it becomes {total:,} vertices and faces")
        return sum(len(self.lists["meshes"][place]["primitives"]) for place in placed)

    def check_mesh(self, mesh: dict[str, Any]) -> int:
        """Vertices and faces of a mesh."""
        rows = 0
        for part in mesh["primitives"]:
            accessors = self.lists.get("accessors", [])
            used = [accessors[self.find("accessors", place)] for place in part["attributes"].values()]
            if "indices" in part:
                used.append(accessors[self.find("accessors", part["indices"])])
            if "material" in part:
                self.find("materials", part["material"])
            rows += sum(accessor["count"] for accessor in used)
            is_hidden = any("bufferView" not in accessor and "sparse" not in accessor for accessor in used)
            if is_hidden and set(COMPRESSED) & set(self.needed) and importlib.util.find_spec("DracoPy") is None:
                raise ValueError("its meshes are compressed; write it without compression")
        return rows

    def find(self, name: str, place: Any) -> int:
        """The place of an item in a list; ValueError: it is not there."""
        size = len(self.lists.get(name, []))
        if type(place) is not int or not 0 <= place < size:
            raise ValueError(f"it names item {str(place)[:20]} of {size} {name}")
        return place


_PLACES = ("matrix", "translation", "rotation", "scale")


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"it has {str(value)[:20]} of something")
    return value
