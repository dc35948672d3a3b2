"""Colours of faces: that of the material, or what the texture shows inside the face.

Shape legend: V vertices, P polygons, C corners of all polygons, F triangles.
"""

import functools
import posixpath
from pathlib import Path

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.datasets.meshes.readers.files import Files, FolderFiles, ZipFiles, beside
from pointrecon.datasets.meshes.readers.polygons import triangulate
from pointrecon.utils.files.pictures import PictureError, open_picture, to_8_bits

MAX_SIDE = 256  # pixels; a face gets one colour, so more would only cost time
FORMATS = ("PNG", "JPEG", "TGA", "SGI", "BMP", "GIF", "DDS", "PCX", "WEBP")  # of Pillow; no other reader is tried
SUFFIXES = (".png", ".jpg", ".jpeg", ".tga", ".rgb", ".bmp", ".gif")
SAMPLES = np.array([[4, 1, 1], [1, 4, 1], [1, 1, 4], [2, 2, 2]]) / 6.0  # where in a triangle the texture is read


def load_texture(files: Files | None, path: str) -> np.ndarray | None:
    """Reads an image, made smaller; None if it is missing or no image that can be read.

    Args:
        files: Where the mesh is.
        path: Of the image. If it is not there, the other usual endings are tried.

    Returns:
        (h, w, 4) float32 RGBA in 0..1.
    """
    if files is None:
        return None
    if isinstance(files, FolderFiles):
        return _load_texture(False, files.root, path)
    return _load_texture(True, files.archive, path)


@functools.lru_cache(maxsize=64)
def _load_texture(is_archive: bool, place: Path, path: str) -> np.ndarray | None:
    files, stem = (ZipFiles if is_archive else FolderFiles)(place), posixpath.splitext(path)[0]
    for name in (path, *(stem + suffix for suffix in SUFFIXES)):
        try:
            data = files.read(name)
            if data:
                return _decode(data)
        except (PictureError, MeshError):
            return None
    return None


def _decode(data: bytes) -> np.ndarray:
    from PIL import Image

    with open_picture(data, FORMATS) as image:
        image.draft("RGB", (MAX_SIDE, MAX_SIDE))
        image = to_8_bits(image).convert("RGBA")
        if max(image.size) > MAX_SIDE:
            scale = MAX_SIDE / max(image.size)
            width, height = (max(1, round(side * scale)) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BOX)
        return np.asarray(image, np.float32) / 255.0


def sample_texture(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Averages a texture over triangles, transparent texels left out.

    Args:
        texture: (h, w, 4).
        uv: (F, 3, 2) texture coordinates, v up, repeated outside 0..1.

    Returns:
        (F, 3) RGB; NaN where everything is transparent.
    """
    height, width = texture.shape[:2]
    points = np.nan_to_num(np.einsum("sc,fcd->fsd", SAMPLES, uv), posinf=0.0, neginf=0.0)
    points = points - np.floor(points)
    column = np.minimum((points[..., 0] * width).astype(np.int64), width - 1)
    row = np.minimum(((1.0 - points[..., 1]) * height).astype(np.int64), height - 1)
    texels = texture[row, column]
    weight = texels[..., 3:]
    total = weight.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0.05, (texels[..., :3] * weight).sum(1) / total, np.nan)


def assemble(
    name: str,
    vertices: np.ndarray,
    counts: np.ndarray,
    corners: np.ndarray,
    colors: np.ndarray | None = None,
    uv: np.ndarray | None = None,
    texture_of: np.ndarray | None = None,
    textures: list[np.ndarray | None] | None = None,
) -> Mesh:
    """Makes the mesh of polygons with materials and textures.

    Args:
        name: How to call it in an error.
        vertices: (V, 3).
        counts: (P,) corners of each polygon.
        corners: (C,) rows of `vertices`.
        colors: (P, 3) RGB in 0..1 of the materials.
        uv: (C, 2) texture coordinates, v up.
        texture_of: (P,) place in `textures`, -1 for none.
        textures: As `load_texture` gives them.

    Returns:
        A checked mesh. Textures replace the materials' colours, since exporters leave these at any value.

    Raises:
        MeshError: It is no proper mesh.
    """
    triangles, owners = triangulate(vertices, counts, corners, name)
    corners = np.asarray(corners, np.int64)
    face_colors = None if colors is None else np.array(colors, np.float32).reshape(-1, 3)[owners]
    if uv is not None and texture_of is not None and textures and len(triangles):
        if face_colors is None:
            face_colors = np.full((len(triangles), 3), 0.7, np.float32)
        choice = np.asarray(texture_of)[owners]
        for index, texture in enumerate(textures):
            rows = np.flatnonzero(choice == index)
            if texture is not None and len(rows):
                found = sample_texture(texture, uv[triangles[rows]])
                face_colors[rows] = np.where(np.isfinite(found), found, face_colors[rows])
    return Mesh(vertices, corners[triangles], face_colors).check(name)


def find_texture(files: Files | None, mesh_path: str, name: str) -> np.ndarray | None:
    """Loads a texture that a mesh names: beside the mesh, or by its mere file name there or in 'textures' further up.

    Args:
        files: Where the mesh is.
        mesh_path: Of the mesh.
        name: As the mesh names it; often an absolute path of its author's machine.
    """
    if files is None or not name.strip():
        return None
    base = posixpath.basename(name.strip().replace("\\", "/"))
    places = [beside(mesh_path, name), beside(mesh_path, base)]
    folder = posixpath.dirname(mesh_path)
    while folder:
        folder = posixpath.dirname(folder)
        places.append(posixpath.join(folder, "textures", base))
    for place in dict.fromkeys(places):
        found = load_texture(files, place)
        if found is not None:
            return found
    return None
