"""Where a mesh file and the files beside it (materials, textures) come from: a folder or a zip archive."""

import functools
import posixpath
import zipfile
import zlib
from pathlib import Path

from pointrecon.datasets.meshes.mesh import MeshError
from pointrecon.utils.files.archives import check_member
from pointrecon.utils.files.checks.limits import LimitError

MAX_BYTES = 256 << 20  # of one file; the largest mesh of the packages has 40 MB


class FolderFiles:
    """Files below a folder, found by their path whatever the case.

    Args:
        root: The folder; nothing outside it is ever opened.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def read(self, path: str) -> bytes | None:
        """Returns the bytes of a file, None if there is none.

        Args:
            path: Relative to the root, with '/'.

        Raises:
            MeshError: The file is larger than MAX_BYTES, or cannot be read.
        """
        found = _find_in_folder(self.root, posixpath.normpath(path))
        if found is None:
            return None
        try:
            if found.stat().st_size > MAX_BYTES:
                raise MeshError(f"'{path}' has over {MAX_BYTES >> 20} MB; leave it out", "too large")
            return found.read_bytes()
        except OSError as error:
            raise MeshError(f"'{path}' cannot be read ({error}); unpack its package again", "unreadable") from error


class ZipFiles:
    """The same for the members of a zip archive.

    Args:
        archive: Path of the archive.
    """

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.file, self.members = open_archive(archive)
        self.size = archive.stat().st_size

    def read(self, path: str) -> bytes | None:
        """Returns the bytes of a member, None if there is none; raises as `FolderFiles.read` does."""
        info = self.members.get(posixpath.normpath(path).lower())
        if info is None:
            return None
        if info.file_size > MAX_BYTES:
            raise MeshError(f"'{path}' in '{self.archive}' has over {MAX_BYTES >> 20} MB; leave it out", "too large")
        try:
            check_member(info, self.size)
            with self.file.open(info) as member:
                return member.read(MAX_BYTES)
        except (OSError, zipfile.BadZipFile, zlib.error, LimitError, RuntimeError, NotImplementedError) as error:
            raise MeshError(
                f"'{path}' in '{self.archive}' cannot be read ({error}); fetch the package again", "unreadable"
            ) from error


def open_archive(path: Path) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """Opens a zip archive once a process and lists its members by lower-case name.

    Raises:
        MeshError: It is missing or no zip archive.
    """
    try:
        return _open_archive(path, path.stat().st_mtime_ns)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise MeshError(
            f"'{path}' is no archive that can be read ({error}); unpack its package again", "unreadable"
        ) from error


@functools.lru_cache(maxsize=4)
def _open_archive(path: Path, changed: int) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    file = zipfile.ZipFile(path)
    return file, {
        posixpath.normpath(info.filename).lower(): info for info in file.infolist() if not info.filename.endswith("/")
    }


@functools.lru_cache(maxsize=4096)
def _find_in_folder(root: Path, path: str) -> Path | None:
    """Finds a file whatever the case of its path; None outside the root."""
    parts = path.split("/")
    if path.startswith("/") or ".." in parts:
        return None
    found = root
    for part in parts:
        if not (found / part).exists():
            matches = [name for name in _names(found) if name.lower() == part.lower()]
            if not matches:
                return None
            part = matches[0]
        found = found / part
    return found if found.is_file() and found.resolve().is_relative_to(root) else None


@functools.lru_cache(maxsize=1024)
def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in folder.iterdir())) if folder.is_dir() else ()


Files = FolderFiles | ZipFiles


def beside(path: str, name: str) -> str:
    """Returns the path of a file that another one names, such as its texture.

    Args:
        path: Of the file that names it.
        name: As written there; backslashes count as '/'.
    """
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), name.strip().replace("\\", "/")))
