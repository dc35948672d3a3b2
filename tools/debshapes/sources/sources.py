"""The packages that hold meshes: what each one has, how it is read, which way is up, and under which licence it is.

Nothing here opens a mesh before `Source.read`; `Source.list_items` only looks at names and catalogues.
"""

import functools
import posixpath
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.datasets.meshes.orient import AXES
from pointrecon.datasets.meshes.readers import READERS
from pointrecon.datasets.meshes.readers.files import FolderFiles, ZipFiles, open_archive
from pointrecon.datasets.meshes.readers.textures import SUFFIXES
from pointrecon.tools.debshapes.sources import sweethome, zeroad
from pointrecon.tools.debshapes.sources.copyrights import licence_of
from pointrecon.tools.debshapes.sources.packages import ROOT_FILE
from pointrecon.utils.errors import InputError

MATERIALS = (".mtl", *SUFFIXES)


@dataclass(frozen=True)
class Item:
    """One mesh of a package, before it is read.

    Attributes:
        source: Key of SOURCES.
        package: Debian package.
        version: Of the package.
        path: Inside the package, with '/'; a mesh inside an archive is 'archive#name'.
        name: As the catalogue or else the file calls it, unprocessed.
        hints: Further words about it, from general to special: folder names, category, tags.
        licence: As the package or its catalogue states it.
        creator: The same; empty if unknown.
        key: Key of the same object in another data set: for sweethome3d, the `id` in the bundled file. Else empty.
    """

    source: str
    package: str
    version: str
    path: str
    name: str
    hints: tuple[str, ...] = ()
    licence: str = ""
    creator: str = ""
    key: str = ""

    @property
    def id(self) -> str:
        """Stable key, unique among all sources and independent of the package's version."""
        return f"{self.source}:{self.package}/{self.path}"


@dataclass(frozen=True)
class Source:
    """Where meshes of one kind come from.

    Attributes:
        name: Key of SOURCES.
        packages: Debian packages; each is unpacked to a folder of its own.
        list_items: Called with the folder of ONE unpacked package; yields its meshes, sorted by path.
        read: Called with that folder and an item of it; gives the mesh, y up, raises MeshError.
        up: The axis that is up in the files, for the documentation; `read` has turned it to y.
        is_optional: Whether it has to be asked for, being large.
        keep: Whether a file of the package, given by its path, is needed; the others are not unpacked.
        num_parts: In how many parts a package is unpacked and read, one after the other, so as to need less room. More
            than one only if no mesh needs another file.
    """

    name: str
    packages: tuple[str, ...]
    list_items: Callable[[Path], Iterator[Item]]
    read: Callable[[Path, Item], Mesh]
    up: str = "y"
    is_optional: bool = False
    keep: Callable[[str], bool] | None = field(default=None, repr=False)
    num_parts: int = 1

    def keep_of(self, part: int) -> Callable[[str], bool]:
        """Returns `keep` for one of the parts; each file is in one of them."""

        def keep(path: str) -> bool:
            return zlib.crc32(path.encode()) % self.num_parts == part and (self.keep is None or self.keep(path))

        return keep


SOURCES: dict[str, Source] = {}


def read_package(root: Path) -> tuple[str, str]:
    """Returns name and version of an unpacked package.

    Raises:
        InputError: The folder was not made by `packages.unpack`.
    """
    path = root / ROOT_FILE
    words = path.read_text(encoding="utf-8").split() if path.is_file() else []
    if len(words) != 2:
        raise InputError(f"'{root}' is no unpacked package; delete it and unpack the package again")
    return words[0], words[1]


def _add_folder(
    name: str,
    packages: tuple[str, ...],
    up: str,
    suffixes: tuple[str, ...],
    below: str,
    drop: str = "",
    is_optional: bool = False,
    up_of: dict[str, str] | None = None,
    num_parts: int = 1,
    unused: str = "",
) -> None:
    """Registers a source whose meshes are files.

    Args:
        name: Key of SOURCES.
        packages: Debian packages.
        up: Key of AXES.
        suffixes: Of the meshes.
        below: Folder of the package that is searched.
        drop: Regular expression; meshes whose path below `below` has it are no shapes of their own.
        is_optional: As in `Source`.
        up_of: Key of AXES for the paths that have a regular expression.
        num_parts: As in `Source`.
        unused: Regular expression; materials whose path below `below` has it belong to no mesh and are not unpacked.
    """

    def turn_of(path: str) -> np.ndarray:
        return AXES[next((axes for pattern, axes in (up_of or {}).items() if re.search(pattern, path)), up)]

    def is_mesh(path: str) -> bool:
        return (
            path.startswith(f"{below}/")
            and path.lower().endswith(suffixes)
            and not (drop and re.search(drop, path[len(below) :]))
        )

    def list_items(root: Path) -> Iterator[Item]:
        folder = root / below
        found = sorted(path.relative_to(root).as_posix() for path in folder.rglob("*") if path.is_file())
        for path in found:
            if is_mesh(path):
                yield _file_item(name, root, path, path[len(below) + 1 :])

    def read(root: Path, item: Item) -> Mesh:
        return _read(FolderFiles(root), item.path, suffixes, turn_of(item.path))

    def keep(path: str) -> bool:
        is_material = path.startswith(f"{below}/") and path.lower().endswith(MATERIALS)
        return is_mesh(path) or is_material and not (unused and re.search(unused, path[len(below) :]))

    SOURCES[name] = Source(name, packages, list_items, read, up, is_optional, keep, num_parts)


def _add_archives(
    name: str, package: str, up: str, suffix: str, archives: tuple[str, ...], drop: str = "", is_optional: bool = False
) -> None:
    """Registers a source whose meshes are members of zip archives; arguments as in `_add_folder`."""

    def list_items(root: Path) -> Iterator[Item]:
        for archive in archives:
            members = sorted(info.filename for info in open_archive(root / archive)[1].values())
            for member in members:
                if member.lower().endswith(suffix) and not (drop and re.search(drop, member)):
                    yield _file_item(name, root, f"{archive}#{member}", member)

    def read(root: Path, item: Item) -> Mesh:
        archive, _, member = item.path.partition("#")
        return _read(ZipFiles(_inside(root, archive)), member, (suffix,), AXES[up])

    SOURCES[name] = Source(name, (package,), list_items, read, up, is_optional, lambda path: path in archives)


def _file_item(source: str, root: Path, path: str, inner: str) -> Item:
    """Makes the item of a file or member from its path; the folders above it are its hints."""
    package, version = read_package(root)
    licence, creator = licence_of(root, package, path.partition("#")[0])
    parts = inner.split("/")
    hints = tuple(part.removesuffix(".3dshapes") for part in parts[:-1])
    return Item(source, package, version, path, posixpath.splitext(parts[-1])[0], hints, licence, creator)


def _inside(root: Path, path: str) -> Path:
    """Returns a path below `root`; refuses one that leads out of it."""
    found = (root / path).resolve()
    if not found.is_relative_to(root.resolve()):
        raise MeshError(f"'{path}' lies outside its package; leave it out", "outside")
    return found


def _read(files: FolderFiles | ZipFiles, path: str, suffixes: tuple[str, ...], turn: np.ndarray) -> Mesh:
    suffix = posixpath.splitext(path)[1].lower()
    data = files.read(path)
    if data is None or suffix not in suffixes:
        raise MeshError(f"'{path}' is not among the meshes of its package; list these again", "missing file")
    return READERS[suffix](data, path, files).transformed(turn)


@functools.lru_cache(maxsize=8)
def _list_furniture(root: Path) -> tuple[Item, ...]:
    package, version = read_package(root)
    items = []
    for archive in sorted((root / sweethome.FOLDER).glob("*.sh3f")):
        licence, entries = sweethome.read_catalogue(archive)
        for entry in entries:
            key = entry.get("id", "")
            tags = [word.strip() for word in (entry.get("category", "") + "," + entry.get("tags", "")).split(",")]
            hints = tuple(word for word in tags if word)
            path = f"{archive.relative_to(root).as_posix()}#{key}"
            licence_text = entry.get("license") or licence
            items.append(
                Item(
                    "sweethome3d",
                    package,
                    version,
                    path,
                    entry.get("name", key),
                    hints,
                    licence_text,
                    entry.get("creator", ""),
                    key,
                )
            )
    return tuple(sorted(items, key=lambda item: item.path))


def _read_furniture(root: Path, item: Item) -> Mesh:
    archive, _, model = item.path.partition("#")
    return sweethome.read_model(_inside(root, archive), model)


def _list_zeroad(root: Path) -> Iterator[Item]:
    for member, path in zeroad.list_meshes(root / zeroad.ARCHIVE):
        yield _file_item("0ad", root, f"{zeroad.ARCHIVE}#{member}", f"{path}.pmd")


def _read_zeroad(root: Path, item: Item) -> Mesh:
    archive, _, member = item.path.partition("#")
    return zeroad.read_model(_inside(root, archive), member)


GAMES = "usr/share/games"
# In the order in which they are read: the largest packages first, while little has been made of others.
_add_folder(
    "redeclipse",
    ("redeclipse-data",),
    "z",
    (".iqm", ".md3", ".obj"),
    f"{GAMES}/redeclipse/data",
    drop=r"/actors/player/[^/]*\.iqm",  # animations; some hold a stand-in box
    up_of={r"\.obj$": "y"},
    unused=r"^/(torley|wicked|philipk|trak|mayhem|elyvisions|maps|skyboxes|freezurbern|ulukai)/",
)
_add_folder("colobot", ("colobot-common",), "y, front +x", (".mod",), f"{GAMES}/colobot/models")
_add_folder(
    "scorched3d",
    ("scorched3d-data",),
    "z, front +y",
    (".ase",),
    f"{GAMES}/scorched3d/data/globalmods/none/data",
    drop=r"/meshes/(autoaim|bounce|concrete|wind|wrap)|/default\.ase",  # signs; an empty stand-in
)
_add_folder("dart", ("dart-doc",), "z", (".stl",), "usr/share/doc/dart/data", drop=r"/urdf/test/|/wam\w*_collision")
_add_folder(
    "supertuxkart", ("supertuxkart-data",), "y", (".spm",), f"{GAMES}/supertuxkart/data", drop=r"_track\.spm|_sky\.spm"
)
SOURCES["sweethome3d"] = Source(
    "sweethome3d",
    ("sweethome3d-furniture",),
    lambda root: iter(_list_furniture(root)),
    _read_furniture,
    keep=lambda path: path.endswith(".sh3f"),
)
_add_folder("kicad", ("kicad-packages3d",), "z", (".wrl",), "usr/share/kicad/3dmodels", num_parts=3)
_add_folder("megaglest", ("megaglest-data",), "y", (".g3d",), f"{GAMES}/megaglest", drop=r"/none\.g3d|/menu_")
_add_folder(
    "minetest",
    ("minetest-mod-homedecor", "minetest-mod-pipeworks", "minetest-mod-moreblocks"),
    "y, front -z",
    (".obj",),
    "usr/share/games/minetest/mods",
    up_of={  # stored as if on a wall
        r"lrfurn_sofa": "z, front +y",
        r"_bed_|armchair|kitchen_(cabinet|chair|sink)|desk_lamp": "z",
    },
)
TRACKS = r"-lod\d|/tracks/([^/]*)/([^/]*)/\2\."  # simplified cars; whole tracks
_add_folder("torcs", ("torcs-data",), "y, front +x", (".ac", ".acc"), f"{GAMES}/torcs", drop=TRACKS)
_add_folder("opencity", ("opencity-data",), "y", (".ac",), f"{GAMES}/opencity")
_add_folder("crrcsim", ("crrcsim-data",), "y", (".ac",), f"{GAMES}/crrcsim")
_add_folder("gl117", ("gl-117-data",), "z", (".3ds",), f"{GAMES}/gl-117")
_add_folder("stormbaancoureur", ("stormbaancoureur-data",), "z", (".3ds",), f"{GAMES}/stormbaancoureur")
_add_folder("neverball", ("neverball-common",), "y", (".obj",), f"{GAMES}/neverball")
_add_folder("cube2", ("cube2-data",), "z", (".iqm",), f"{GAMES}/cube2/packages", drop=r"\.md5anim\.iqm")
_add_archives("ufoai", "ufoai-data", "z", ".md2", (f"{GAMES}/ufoai/base/0models.pk3",))
_add_archives("openarena", "openarena-data", "z", ".md3", (f"{GAMES}/openarena/baseoa/pak0.pk3",), drop=r"_\d\.md3$")
WARZONE = (f"{GAMES}/warzone2100/base.wz", f"{GAMES}/warzone2100/mp.wz")
_add_archives("warzone2100", "warzone2100-data", "y", ".pie", WARZONE, drop=r"^effects/|^misc/m")
SOURCES["0ad"] = Source(
    "0ad", ("0ad-data",), _list_zeroad, _read_zeroad, is_optional=True, keep=lambda path: path == zeroad.ARCHIVE
)
