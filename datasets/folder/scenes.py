"""Files that trimesh reads: scene graphs with their transforms, meshes with texture colours, vertex clouds.

Shape legend: V vertices, F faces, N points.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, MeshError, merge
from pointrecon.datasets.meshes.readers.gltf import check_gltf
from pointrecon.utils.files.pictures import restrained_pillow

SCENE_SUFFIXES = (".glb", ".gltf", ".obj", ".off", ".ply", ".stl", ".wrl")
MAX_HEADER = 1 << 16  # bytes of a PLY header
MAX_LOADS = 8  # of a file; those with parts outside of its scene never have all


def read_scene(path: Path) -> Mesh | tuple[np.ndarray, np.ndarray | None]:
    """Reads a file with trimesh; every part of a scene is put where its transforms say.

    Returns:
        One mesh of all parts with faces; without any, points (N, 3) and colours (N, 3) in 0..1 or None.

    Raises:
        MeshError: trimesh is not installed, the file cannot be read, or it holds neither faces nor points.
    """
    try:
        import trimesh
    except ImportError as error:
        raise MeshError(
            f"'{path}' needs the package trimesh; run: pip install 'pointrecon[meshes]'", "missing package"
        ) from error
    suffix = path.suffix.lower()
    # Vertices are not merged and faces not turned: nothing here needs it, and it takes the time of large scans.
    num_parts = check_gltf(path) if suffix in (".glb", ".gltf") else 0
    try:
        parts: list[Any] = []

        class PlainFiles(trimesh.resolvers.FilePathResolver):
            """Files that a scene names: buffers and textures."""

            def get(self, name: str) -> bytes:
                places = (Path(self.parent, part) for part in (name.strip().lstrip("/"), Path(name).name))
                if any(place.exists() and not place.is_file() for place in places):
                    raise ValueError(f"'{name}', which it names, is no plain file")
                return super().get(name)

        with restrained_pillow():  # textures are opened by trimesh itself
            # Parts of a glTF node get random names of six characters, and of two that are alike one is lost.
            for _ in range(MAX_LOADS if num_parts > 1 else 1):
                scene = trimesh.load_scene(
                    path, file_type=suffix.lstrip("."), resolver=PlainFiles(str(path)), process=False
                )
                parts = max(parts, list(_parts(scene)), key=len)
                if len(parts) >= num_parts:
                    break
    except Exception as error:  # noqa: BLE001  (its readers raise whatever a damaged file makes them run into)
        text = " ".join(str(error).split())[:120] or type(error).__name__
        raise MeshError(f"'{path}' is no {suffix} file that can be read ({text})", "damaged") from error
    meshes = [part for part in parts if isinstance(part, Mesh)]
    if suffix == ".ply":
        _check_counts(path, sum(len(mesh.faces) for mesh in meshes))
    if meshes:
        return merge(meshes)
    clouds = [part for part in parts if not isinstance(part, Mesh)]
    if not clouds:
        raise MeshError(f"'{path}' has neither faces nor points; leave it out", "no faces")
    colors = [rgb for _, rgb in clouds if rgb is not None]
    points = np.concatenate([xyz for xyz, _ in clouds])
    return points, np.concatenate(colors) if len(colors) == len(clouds) else None


def _check_counts(path: Path, num_faces: int) -> None:
    """Refuses a PLY file that claims more faces than it has: trimesh takes what there is."""
    with path.open("rb") as file:
        header = file.read(MAX_HEADER).partition(b"end_header")[0]
    claimed = re.search(rb"^element face (\d+)", header, re.MULTILINE)
    if claimed and int(claimed[1]) > num_faces:
        raise MeshError(f"'{path}' claims {int(claimed[1]):,} faces and has {num_faces:,}: it ends early", "truncated")


def _parts(scene: Any) -> Any:
    """Yields a Mesh or (points, colours) for each node that has geometry, in the coordinates of the scene."""
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        geometry = scene.geometry[name]
        vertices = np.asarray(getattr(geometry, "vertices", np.zeros((0, 3))), np.float64)
        if not len(vertices):
            continue
        faces = getattr(geometry, "faces", None)
        if faces is not None and len(faces):
            yield Mesh(vertices, np.asarray(faces), _face_colors(geometry)).transformed(matrix)
        elif not hasattr(geometry, "entities"):  # paths are drawings, no shapes
            yield vertices @ matrix[:3, :3].T + matrix[:3, 3], _vertex_colors(geometry)


def _face_colors(geometry: Any) -> np.ndarray | None:
    """(F, 3) in 0..1 from faces, vertices or the texture; None where the file says nothing."""
    visual = getattr(geometry, "visual", None)
    if visual is None or not getattr(visual, "defined", False):
        return None
    try:
        if visual.kind == "texture" and (color := _plain_color(visual)) is not None:
            return np.tile(color, (len(geometry.faces), 1))
        if visual.kind == "texture":  # trimesh gives its colours to vertices, and knows no faces of them
            colors = np.asarray(visual.to_color().vertex_colors, np.float32)[geometry.faces].mean(axis=1)
        else:
            colors = visual.face_colors
    except Exception:  # noqa: BLE001  (a texture that is not there or damaged costs the colours, not the shape)
        return None
    colors = np.asarray(colors, np.float32)
    return colors[:, :3] / 255 if colors.shape[:1] == (len(geometry.faces),) and colors.ndim == 2 else None


def _plain_color(visual: Any) -> np.ndarray | None:
    """(3,) in 0..1: the colour of a material without a picture, which trimesh gives to no face; None: it has one."""
    names = ("baseColorTexture", "image")
    if visual.uv is not None and any(getattr(visual.material, name, None) is not None for name in names):
        return None
    color = getattr(visual.material, "baseColorFactor", getattr(visual.material, "diffuse", None))
    return None if color is None else np.asarray(color, np.float32)[:3] / 255


def _vertex_colors(cloud: Any) -> np.ndarray | None:
    colors = np.asarray(getattr(cloud, "colors", None) if getattr(cloud, "colors", None) is not None else [])
    is_whole = colors.ndim == 2 and len(colors) == len(cloud.vertices) and colors.shape[1] >= 3
    return colors[:, :3].astype(np.float32) / 255 if is_whole else None
