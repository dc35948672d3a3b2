"""VRML 2.0 as CAD exporters write it: shapes of indexed faces below groups and transforms, DEF and USE."""

import re

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, MeshError, merge
from pointrecon.datasets.meshes.readers.files import Files
from pointrecon.datasets.meshes.readers.polygons import triangulate

TOKEN = re.compile(r"[{}\[\]]|\"[^\"]*\"|[^\s,{}\[\]\"]+")
COMMENT = re.compile(r"\"[^\"]*\"|#[^\n]*")
MAX_DEPTH = 64
MAX_NODES = 20_000  # counted out: a node may be used again by nodes that are used again
MAX_ROWS = 10_000_000  # vertices and faces, counted out
GROUPS = ("Group", "Transform", "Switch", "Collision", "Anchor", "Billboard", "LOD")


def read_vrml(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads the indexed face sets of a VRML 2.0 file, with the diffuse colours of their materials.

    Args:
        data: The file. What stands before '#VRML' in its first line does not matter.
        path: For errors.
        files: Not used; textures are left out.

    Raises:
        MeshError: It is no such file or no proper mesh.
    """
    text = data.decode("utf-8", "replace")
    if "#VRML V1" in text[:200]:
        raise MeshError(f"'{path}' is VRML 1.0, but only 2.0 can be read; leave it out", "unsupported")
    text = COMMENT.sub(
        lambda match: match.group() if match.group()[0] == '"' else "", text[max(text.find("#VRML"), 0) :]
    )
    try:
        nodes = _Parser(text).nodes()
        budget = _Budget(path)
        meshes = [mesh for node in nodes for mesh in _collect(node, budget, 0)]
    except (ValueError, IndexError, OverflowError, TypeError, AttributeError) as error:
        if isinstance(error, MeshError):
            raise
        raise MeshError(f"'{path}' is no VRML that can be read ({error}); leave it out") from error
    return merge(meshes).check(path)


class _Budget:
    """What the nodes of a file may become if they are counted each time they are used."""

    def __init__(self, path: str) -> None:
        self.path, self.nodes, self.rows = path, 0, 0
        self._known: dict[int, list[Mesh]] = {}

    def shape(self, node: "_Node") -> list[Mesh]:
        """The meshes of a shape, which are made once, however often it is used."""
        if id(node) not in self._known:
            self._known[id(node)] = _face_set(node, self.path)
        found = self._known[id(node)]
        self.take(sum(len(mesh.vertices) + len(mesh.faces) for mesh in found))
        return found

    def take(self, rows: int) -> None:
        """Counts a node with so many vertices and faces.

        Raises:
            MeshError: There are too many.
        """
        self.nodes, self.rows = self.nodes + 1, self.rows + rows
        if self.nodes > MAX_NODES or self.rows > MAX_ROWS:
            raise MeshError(f"'{self.path}' uses its parts over {MAX_NODES:,} times or is too large", "too large")


class _Node(dict):
    """The fields of a node by name, and the node's type."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def get_node(self, name: str) -> "_Node":
        """Returns the node that a field holds; an empty one if there is none."""
        found = self.get(name)
        return found if isinstance(found, _Node) else _Node("")


class _Parser:
    """Nodes of one text; numbers in brackets are taken in one piece, which is what makes it fast."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.named: dict[str, _Node] = {}

    def next(self) -> str:
        match = TOKEN.search(self.text, self.position)
        if match is None:
            self.position = len(self.text)
            return ""
        self.position = match.end()
        return match.group()

    def peek(self) -> str:
        position = self.position
        token = self.next()
        self.position = position
        return token

    def nodes(self) -> list[_Node]:
        found = []
        while token := self.next():
            if token == "ROUTE":
                for _ in range(3):
                    self.next()
            else:
                found.append(self.node(token, 0))
        return found

    def node(self, token: str, depth: int) -> _Node:
        """Reads a node whose first word has been read."""
        if depth > MAX_DEPTH:
            raise ValueError(f"nodes are nested more than {MAX_DEPTH} deep")
        if token == "USE":
            name = self.next()
            if name not in self.named:
                raise ValueError(f"USE of '{name}', which is not defined before")
            return self.named[name]
        name = ""
        if token == "DEF":
            name, token = self.next(), self.next()
        if token in ("PROTO", "EXTERNPROTO", "Script"):
            raise ValueError(f"{token} is not supported")
        node = _Node(token)
        if self.next() != "{":
            raise ValueError(f"'{token[:40]}' is not followed by a brace")
        while (field := self.next()) != "}":
            if not field:
                raise ValueError("the file ends inside a node")
            node[field] = self.value(depth)
        if name is not None:  # known only from here on, so that no node contains itself
            self.named[name] = node
        return node

    def value(self, depth: int) -> object:
        token = self.next()
        if token == "[":
            return self.items(depth)
        first = token[:1]
        if first.isdigit() or first in "+-.":
            values = [float(token)]
            while (first := self.peek()[:1]).isdigit() or (first and first in "+-."):
                values.append(float(self.next()))
            return np.array(values)
        if first == '"' or token in ("TRUE", "FALSE", "NULL") or self.peek() != "{" and token not in ("DEF", "USE"):
            return token
        return self.node(token, depth + 1)

    def items(self, depth: int) -> object:
        """Reads a list up to its closing bracket: numbers, strings or nodes."""
        end = self.text.find("]", self.position)
        if end < 0:
            raise ValueError("the file ends inside a list")
        inside = self.text[self.position : end]
        start = inside.lstrip()[:1]
        if not start or start.isdigit() or start in "+-.":
            self.position = end + 1
            return np.array(inside.replace(",", " ").split(), dtype=object).astype(np.float64)
        values = []
        while (token := self.next()) != "]":
            if not token:
                raise ValueError("the file ends inside a list")
            values.append(token if token[0] == '"' else self.node(token, depth + 1))
        return values


def _collect(node: object, budget: _Budget, depth: int) -> list[Mesh]:
    """Gathers the meshes below a node."""
    if not isinstance(node, _Node) or depth > MAX_DEPTH:
        return []
    if node.kind == "Shape":
        return budget.shape(node)
    budget.take(0)
    if node.kind not in GROUPS:
        return []
    children = node.get("children", node.get("choice", node.get("level", [])))
    children = children if isinstance(children, list) else [children]
    if node.kind in ("Switch", "LOD"):  # one of them is shown
        which = int(node["whichChoice"][0]) if "whichChoice" in node else 0 if node.kind == "LOD" else -1
        children = children[which : which + 1] if which >= 0 else []
    meshes = [mesh for child in children for mesh in _collect(child, budget, depth + 1)]
    if node.kind == "Transform":
        matrix = _matrix(node)
        meshes = [mesh.transformed(matrix) for mesh in meshes]
    return meshes


def _matrix(node: _Node) -> np.ndarray:
    """Makes the (4, 4) matrix of a Transform: translation x centre x rotation x scale x -centre."""

    def move(by: np.ndarray) -> np.ndarray:
        matrix = np.eye(4)
        matrix[:3, 3] = by[:3]
        return matrix

    zero = np.zeros(3)
    center = move(node.get("center", zero))
    turn, stretch = _rotation(node.get("rotation")), np.diag([*node.get("scale", np.ones(3))[:3], 1.0])
    tilt = _rotation(node.get("scaleOrientation"))
    return move(node.get("translation", zero)) @ center @ turn @ tilt @ stretch @ tilt.T @ np.linalg.inv(center)


def _rotation(axis_angle: np.ndarray | None) -> np.ndarray:
    """Makes the (4, 4) matrix of an axis (3) and an angle in radians."""
    matrix = np.eye(4)
    if axis_angle is None or not np.any(axis_angle[:3]):
        return matrix
    x, y, z = axis_angle[:3] / np.linalg.norm(axis_angle[:3])
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix[:3, :3] += np.sin(axis_angle[3]) * skew + (1 - np.cos(axis_angle[3])) * skew @ skew
    return matrix


def _face_set(shape: _Node, path: str) -> list[Mesh]:
    geometry = shape.get_node("geometry")
    if geometry.kind != "IndexedFaceSet":
        return []
    vertices = np.asarray(geometry.get_node("coord").get("point", []), np.float64)
    indices = np.asarray(geometry.get("coordIndex", []), np.float64).astype(np.int64)
    if not len(vertices) or not len(indices):
        return []
    vertices = vertices[: len(vertices) // 3 * 3].reshape(-1, 3)
    if indices[-1] >= 0:
        indices = np.append(indices, -1)
    ends = np.flatnonzero(indices < 0)
    counts = np.diff(np.concatenate([[-1], ends])) - 1
    corners = indices[indices >= 0]
    triangles, owners = triangulate(vertices, counts, corners, path)
    material = shape.get_node("appearance").get_node("material")
    color = np.asarray(material.get("diffuseColor", (0.8, 0.8, 0.8)), np.float32)[:3]
    colors = np.tile(color, (len(triangles), 1))
    table = geometry.get_node("color").get("color")
    if table is not None and len(table) >= 3:
        colors = _listed_colors(
            geometry, np.asarray(table)[: len(table) // 3 * 3].reshape(-1, 3), corners, triangles, owners
        )
    return [Mesh(vertices, corners[triangles], colors)]


def _listed_colors(
    geometry: _Node, table: np.ndarray, corners: np.ndarray, triangles: np.ndarray, owners: np.ndarray
) -> np.ndarray:
    """Picks a colour a triangle from those of the vertices or of the faces."""
    chosen = np.asarray(geometry.get("colorIndex", []), np.int64)
    if geometry.get("colorPerVertex") == "FALSE":
        rows = chosen[owners] if len(chosen) > owners.max(initial=-1) else owners
        return table[np.clip(rows, 0, len(table) - 1)]
    chosen = chosen[chosen >= 0]
    rows = (chosen if len(chosen) == len(corners) else corners)[triangles]
    return table[np.clip(rows, 0, len(table) - 1)].mean(1)
