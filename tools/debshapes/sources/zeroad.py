"""The models of 0 A.D.: meshes of one archive, with the texture that the game's actors give them.

An actor is an XML file that joins meshes and textures: groups of variants, of which the game takes one each.
"""

import functools
import posixpath
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.datasets.meshes.readers.files import ZipFiles, open_archive
from pointrecon.datasets.meshes.readers.games.pmd import read_pmd
from pointrecon.datasets.meshes.readers.textures import load_texture
from pointrecon.tools.debshapes.sources.zeroad_names import DROP

ARCHIVE = "usr/share/games/0ad/mods/public/public.zip"
MESHES, ACTORS, VARIANTS, TEXTURES = "art/meshes/", "art/actors/", "art/variants/", "art/textures/skins/"
COMPILED = ".cached.pmd"  # added to a mesh's name when the package is built
MAX_XML = 1 << 20  # bytes of one actor; the largest has 129 KB
MAX_ACTORS = 50_000
MAX_PARENTS = 8  # variants that a variant builds on
FAINT = 0.05  # weight of what a texture cuts out, where a face shows nothing else
# The files are left-handed with the front at -z; mirrored there, they are right-handed with the front at +z.
TURN = np.diag([1.0, 1.0, -1.0])


@dataclass(frozen=True)
class Skin:
    """What is on a mesh.

    Attributes:
        texture: Path of the image below TEXTURES.
        is_cut_out: Whether transparent texels are holes. Else they are where the player's colour shines through.
    """

    texture: str
    is_cut_out: bool


def list_meshes(archive: Path) -> Iterator[tuple[str, str]]:
    """Yields the meshes that are things of their own: member of the archive, and its path below MESHES without endings.

    Raises:
        MeshError: The archive cannot be read.
    """
    for member in sorted(info.filename for info in open_archive(archive)[1].values()):
        if member.startswith(MESHES) and member.endswith(".pmd"):
            path = member.removeprefix(MESHES).removesuffix(COMPILED).removesuffix(".pmd").removesuffix(".dae")
            if not DROP.search(path):
                yield member, path


def read_model(archive: Path, member: str) -> Mesh:
    """Reads a mesh with the colours of its most frequent texture, if any actor has it and the image can be read.

    Args:
        archive: The game's archive.
        member: As `list_meshes` gives it.

    Returns:
        y up, front +z.

    Raises:
        MeshError: It is not there or no proper mesh.
    """
    files = ZipFiles(archive)
    data = files.read(member) if member.startswith(MESHES) and member.endswith(".pmd") else None
    if data is None:
        raise MeshError(f"'{member}' is not among the meshes of '{archive}'; list these again", "missing file")
    skin = read_skins(archive).get(_stem(member.removeprefix(MESHES)))
    return read_pmd(data, member, files, _load(files, skin)).transformed(TURN)


@functools.lru_cache(maxsize=2)
def read_skins(archive: Path) -> dict[str, Skin]:
    """Reads all actors of an archive: for each mesh the skin that most variants give it, of several the first by name.

    Actors that are broken are passed over, since they only bring colours.

    Returns:
        By the mesh's path below MESHES, in lower case and without ending.

    Raises:
        MeshError: The archive cannot be read.
    """
    files = ZipFiles(archive)
    names = sorted(name for name in files.members if name.startswith((ACTORS, VARIANTS)) and name.endswith(".xml"))
    roots = {name: root for name in names[:MAX_ACTORS] if (root := _read_xml(files, name)) is not None}
    counts: dict[str, Counter[Skin]] = {}
    for name, root in roots.items():
        if name.startswith(ACTORS):
            for actor in root.iter():
                for mesh, skin in _find_skins(actor, roots):
                    counts.setdefault(_stem(mesh), Counter())[skin] += 1
    return {
        mesh: min(found, key=lambda skin: (-found[skin], skin.texture, skin.is_cut_out))
        for mesh, found in counts.items()
    }


def parse_xml(data: bytes) -> ElementTree.Element:
    """Parses XML in UTF-8 without document type, which is where entities and other files would be declared.

    Raises:
        ValueError: It is no such XML.
    """

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type")

    builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from error
    return builder.close()


def _read_xml(files: ZipFiles, name: str) -> ElementTree.Element | None:
    if files.members[name].file_size > MAX_XML:
        return None
    try:
        return parse_xml(files.read(name) or b"")
    except (ValueError, MeshError):
        return None


def _find_skins(actor: ElementTree.Element, roots: dict[str, ElementTree.Element]) -> Iterator[tuple[str, Skin]]:
    """Yields the meshes of an actor's variants, each with the texture of its variant or else of the first one."""
    variants = [_resolve(variant, roots) for group in actor.findall("group") for variant in group.findall("variant")]
    material = (actor.findtext("material") or "").strip()
    is_cut_out = "trans" in material and not material.startswith(("player_", "no_"))
    first = next((texture for _, texture in variants if texture), "")
    for mesh, texture in variants:
        if mesh and (texture or first):
            yield mesh, Skin(texture or first, is_cut_out)


def _resolve(variant: ElementTree.Element, roots: dict[str, ElementTree.Element]) -> tuple[str, str]:
    """Returns the mesh and the base texture of a variant, its own or those of the one it builds on; empty if none."""
    mesh = texture = ""
    for _ in range(MAX_PARENTS):
        mesh = mesh or (variant.findtext("mesh") or "").strip()
        images = [image.get("file", "") for image in variant.iterfind("textures/texture[@name='baseTex']")]
        texture = texture or next(iter(images), "")
        parent = roots.get(posixpath.normpath(VARIANTS + variant.get("file", "")).lower())
        if parent is None:
            break
        variant = parent
    return mesh, texture


def _stem(mesh: str) -> str:
    return posixpath.splitext(posixpath.normpath(mesh.removesuffix(COMPILED)).lower())[0]


def _load(files: ZipFiles, skin: Skin | None) -> np.ndarray | None:
    """Reads the image of a skin, (h, w, 4); None if there is none or it cannot be read."""
    if skin is None:
        return None
    try:
        texture = load_texture(files, f"{TEXTURES}{skin.texture}.cached.dds")
    except (NotImplementedError, IndexError, KeyError, TypeError, struct.error):  # Pillow's, of damaged DDS files
        return None
    if texture is None:
        return None
    colors, alpha = texture[..., :3], texture[..., 3:]
    if not skin.is_cut_out:
        return np.concatenate([colors, np.ones_like(alpha)], axis=2)
    # A face of which only holes are sampled gets the texture's mean colour.
    mean = (colors * alpha).sum((0, 1)) / max(float(alpha.sum()), 1e-6)
    return np.concatenate([np.where(alpha > FAINT, colors, mean), np.maximum(alpha, FAINT)], axis=2)
