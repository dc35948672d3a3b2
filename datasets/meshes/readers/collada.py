"""COLLADA (.dae): the scene of the file by pycollada, polygons by ear clipping.

https://www.khronos.org/files/collada_spec_1_5.pdf; skins and morphs are read as they were modelled; lines are left
out.
"""

import importlib.util
import io
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import numpy as np

from pointrecon.datasets.meshes.mesh import MAX_ELEMENTS, Mesh, MeshError, merge
from pointrecon.datasets.meshes.readers.files import Files
from pointrecon.datasets.meshes.readers.polygons import join_holes
from pointrecon.datasets.meshes.readers.polyhedra import check_corners, mean_colors
from pointrecon.datasets.meshes.readers.textures import assemble, find_texture

SETS = ("polygons", "polylist", "triangles")  # elements whose `count` is that of their polygons
FATAL = ("DaeMalformedError", "DaeIncompleteError", "DaeBrokenRefError")  # of pycollada, where a geometry is lost
GREY = 0.7


def read_dae(data: bytes, path: str, files: Files | None = None) -> Mesh:
    """Reads a COLLADA file; every geometry is put where the scene's transforms say, as often as it occurs.

    Args:
        data: The file.
        path: For errors.
        files: Where its textures are.

    Returns:
        The mesh, in the units and axes of the file, with the colours of corners, textures or materials.

    Raises:
        MeshError: pycollada is not installed, the file is no such thing, ends early, or has no polygons.
    """
    if importlib.util.find_spec("collada") is None:
        raise MeshError(f"'{path}' needs the package pycollada; run: pip install pycollada", "missing package")
    try:
        document = _parse(data)
        _check_counts(document, path)
        return merge(_parts(document, path, files)).check(path)
    except MeshError:
        raise
    except Exception as error:  # noqa: BLE001  (pycollada raises whatever a damaged file makes it run into)
        text = " ".join(str(error).split())[:120] or type(error).__name__
        raise MeshError(f"'{path}' is no .dae file that can be read ({text})", "damaged") from error


def _parse(data: bytes) -> Any:
    """The document; what is broken besides the shapes, such as lights and materials, costs no shape."""
    import collada

    errors = [collada.common.DaeError]
    document = collada.Collada(io.BytesIO(data), ignore=errors)
    if any(isinstance(error, collada.common.DaeBrokenRefError) for error in document.errors):
        # A part whose material is not there would be left out.
        bare = re.sub(rb"<bind_material\b.*?</bind_material>", b"", data, flags=re.DOTALL)
        document = collada.Collada(io.BytesIO(bare), ignore=errors)
    return document


def _check_counts(document: Any, path: str) -> None:
    """Refuses a file that claims more than it has, or a geometry that pycollada refused: others would just lack it."""
    tag, kept = document.tag, {geometry.id for geometry in document.geometries}
    reasons = [str(error) for error in document.errors if type(error).__name__ in FATAL]
    for node in document.xmlnode.getroot().iter(tag("geometry")):
        if reasons and node.find(tag("mesh")) is not None and (node.get("id") or "") not in kept:
            raise MeshError(f"'{path}' has a damaged geometry '{node.get('id')}' ({reasons[0][:120]})", "damaged")
        for array in node.iter(tag("float_array")):
            _check_claim(path, "numbers", array, len((array.text or "").split()))
    for geometry in document.geometries:
        for primitive in geometry.primitives:
            if primitive.xmlnode.tag in map(tag, SETS):
                count = primitive.ntriangles if hasattr(primitive, "ntriangles") else len(primitive.vcounts)
                count += len(primitive.xmlnode.findall(tag("ph")))
                _check_claim(path, "polygons", primitive.xmlnode, count)


def _check_claim(path: str, what: str, node: Any, count: int) -> None:
    claimed = int(node.get("count") or 0)
    if claimed > count:
        raise MeshError(f"'{path}' claims {claimed:,} {what} and has {count:,}: it ends early", "truncated")


def _parts(document: Any, path: str, files: Files | None) -> list[Mesh]:
    """The meshes of the scene, each in its place; without a scene, those of the library as they are."""
    scene = document.scene or next(iter(document.scenes), None)
    placed = _walk(scene.nodes, np.eye(4)) if scene else ((one, {}, np.eye(4)) for one in document.geometries)
    made: dict[tuple[int, int], Mesh | None] = {}
    parts: list[Mesh] = []
    total = 0
    for geometry, materials, matrix in placed:
        for primitive in geometry.primitives:
            material = materials.get(primitive.material)
            key = (id(primitive), id(material))
            if key not in made:
                made[key] = _read_primitive(primitive, material, path, files)
            mesh = made[key]
            if mesh is not None:
                parts.append(mesh.transformed(matrix))
                total += len(mesh.faces)
        if total > MAX_ELEMENTS:
            break  # a few nodes can name each other so often that no memory would do
    return parts


def _walk(nodes: Any, matrix: np.ndarray) -> Iterator[tuple[Any, dict[str, Any], np.ndarray]]:
    """Geometries of a scene, with their materials by symbol and their place (4, 4)."""
    for node in nodes:
        if hasattr(node, "geometry"):
            yield node.geometry, {one.symbol: one.target for one in node.materials}, matrix
        elif hasattr(node, "controller"):  # where its skeleton puts it in the pose of the file: not where the node is
            bones, own = node.controller, np.eye(4)
            while not hasattr(bones, "primitives"):
                if hasattr(bones, "bind_shape_matrix"):
                    own = own @ np.asarray(bones.bind_shape_matrix, np.float64).reshape(4, 4)
                bones = bones.geometry if hasattr(bones, "geometry") else bones.source_geometry
            yield bones, {one.symbol: one.target for one in node.materials}, own
        elif hasattr(node, "children"):
            yield from _walk(node.children, matrix @ np.asarray(node.matrix, np.float64))


def _read_primitive(primitive: Any, material: Any, path: str, files: Files | None) -> Mesh | None:
    """The polygons of one material; None for lines and for what has no area."""
    if hasattr(primitive, "vcounts"):
        counts = np.asarray(primitive.vcounts, np.int64)
    elif hasattr(primitive, "ntriangles"):
        counts = np.full(primitive.ntriangles, 3)
    else:
        return None
    sources = primitive.sources
    index = np.asarray(primitive.index).reshape(-1, primitive.nindices).astype(np.int64)
    counts, index = _add_holed(primitive, counts, index, path)

    def corner_values(name: str) -> np.ndarray | None:
        if not sources.get(name):
            return None
        offset, source = sources[name][0][0], sources[name][0][4]
        return np.asarray(source.data, np.float64)[index[:, offset]]

    corners = check_corners(index[:, sources["VERTEX"][0][0]], counts, path)
    if not len(counts) or counts.max() < 3:
        return None
    color, texture = _look(getattr(material, "effect", None), path, files)
    rgb, uv = corner_values("COLOR"), corner_values("TEXCOORD")
    colors = None if color is None else np.tile(color, (len(counts), 1))
    if rgb is not None and rgb.shape[1] >= 3:
        colors = mean_colors(rgb, counts)
    vertices, texture_of = np.asarray(sources["VERTEX"][0][4].data, np.float64), np.zeros(len(counts), np.int64)
    return assemble(path, vertices, counts, corners, colors, uv, texture_of, [texture])


def _add_holed(primitive: Any, counts: np.ndarray, index: np.ndarray, path: str) -> tuple[np.ndarray, np.ndarray]:
    """The polygons with those that have holes, each as one ring; pycollada leaves them out."""
    offset, source = primitive.sources["VERTEX"][0][0], primitive.sources["VERTEX"][0][4]
    for node in primitive.xmlnode:
        if str(node.tag).rsplit("}", 1)[-1] != "ph":
            continue
        rings = [np.array((ring.text or "").split(), np.int64).reshape(-1, index.shape[1]) for ring in node]
        rings = [ring for ring in rings if len(ring) > 2]
        if rings:
            rows = np.concatenate(rings)
            sizes = np.array([len(ring) for ring in rings])
            corners = check_corners(rows[:, offset], sizes, path)
            rows = rows[join_holes(np.asarray(source.data, np.float64)[corners], sizes)]
            index, counts = np.concatenate([index, rows]), np.append(counts, len(rows))
    return counts, index


def _look(effect: Any, path: str, files: Files | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Colour (3,) and texture of a material, or None for what it does not say."""
    value: Any
    for value in (getattr(effect, "diffuse", None), getattr(effect, "emission", None)):
        if hasattr(value, "sampler"):
            name = unquote(value.sampler.surface.image.path or "").removeprefix("file://")
            return np.full(3, GREY), find_texture(files, path, name)
        if value is not None and (value is effect.diffuse or max(value[:3]) > 0):
            return np.asarray(value[:3], np.float64), None
    return None, None
