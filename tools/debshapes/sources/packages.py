"""Debian packages: fetched with apt-get or taken from a folder, checked and unpacked. No root is needed."""

import errno
import lzma
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import IO, cast

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.archives import UnpackedStream
from pointrecon.utils.files.io import describe_write_fault

ROOT_FILE = "PACKAGE"  # in an unpacked folder: 'name version'. Written last, so its presence means complete
MAX_UNPACKED = 8 << 30  # bytes of one package
MAX_PACKAGE_GROWTH = 100  # times a package's size that it may unpack to: meshes as text shrink to a twentieth
MAX_MEMBERS = 200_000
MIN_FREE = 1 << 20  # bytes; with less, a download that fails has failed for want of room
MAX_CONTROL = 1 << 20  # bytes of what a package says of itself
# What a package's own names lead to, and not the disk.
NAME_FAULTS = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ}
DAMAGE = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError, RecursionError)


class CannotWriteError(InputError):
    """The disk is full or takes no files: to go on with other packages is of no use."""


def package_of(deb: Path) -> tuple[str, str]:
    """Returns the package and the version that a file name 'name_version_arch.deb' states.

    Raises:
        InputError: The name is not of this form.
    """
    parts = deb.name.removesuffix(".deb").split("_")
    safe = len(parts) == 3 and all(part and part[0].isalnum() and "/" not in part for part in parts[:2])
    if not deb.name.endswith(".deb") or not safe:
        raise InputError(f"'{deb.name}' is not named like 'name_version_arch.deb'; give packages their own names back")
    return parts[0], parts[1].replace("%3a", ":")


def find_package(name: str, folder: Path) -> Path | None:
    """Returns the file of a package in a folder; of several versions the one whose name sorts last."""
    found = sorted(path for path in Path(folder).glob(f"{name}_*.deb") if path.is_file())
    return found[-1] if found else None


def find_unpacked(name: str, folder: Path) -> Path | None:
    """Returns the folder that `unpack` has made of a package below another one, whatever its version."""
    found = sorted(path.parent for path in Path(folder).glob(f"{name}_*/{ROOT_FILE}"))
    return found[-1] if found else None


def download(names: Iterable[str], folder: Path) -> list[Path]:
    """Fetches packages with `apt-get download`; those whose file is already in the folder are not fetched again.

    Args:
        names: Packages.
        folder: Where the files go; made if missing.

    Returns:
        The files, in the order of `names`.

    Raises:
        InputError: There is no apt-get, a package is not known to it, or the download failed. What has been fetched
            stays, so the next call goes on from there.
        CannotWriteError: The disk is full or takes no files.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [find_package(name, folder) or _download_one(name, folder) for name in names]
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _download_one(name: str, folder: Path) -> Path:
    if shutil.which("apt-get") is None:
        raise InputError(
            f"package '{name}' is not in '{folder}' and this machine has no apt-get; "
            "fetch the .deb from https://packages.debian.org and give its folder"
        )
    # A folder of its own, renamed at the end: an interrupted download never looks like a package.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as part:
        result = subprocess.run(
            ["apt-get", "download", "-q", name], cwd=part, capture_output=True, text=True, check=False
        )
        found = find_package(name, Path(part))
        if result.returncode or found is None:
            if shutil.disk_usage(folder).free < MIN_FREE:
                raise _cannot_write(folder, OSError(errno.ENOSPC, ""))
            reasons = [line for line in result.stderr.splitlines() if line.startswith("E:")]
            raise InputError(
                f"apt-get cannot download package '{name}' ({reasons[0] if reasons else 'no reason given'}); "
                "run 'apt-get update', or fetch the .deb yourself and give its folder"
            )
        return Path(shutil.move(found, folder / found.name))


def unpack(deb: Path, folder: Path, keep: Callable[[str], bool] | None = None) -> Path:
    """Unpacks a package below a folder, or finds it unpacked.

    Args:
        deb: The package.
        folder: The files go to '<folder>/<name>_<version>'.
        keep: Called with the path of each file, as 'usr/share/...'; those for which it is false are left out. The file
            of copyrights is always unpacked.

    Returns:
        The folder of the package. It holds a file ROOT_FILE with the package's name and version.

    Raises:
        InputError: The package is missing, damaged or of another version than its file's name says, or has names that
            lead out of the folder, or is absurdly large.
        CannotWriteError: The disk is full or takes no files.
    """
    deb, folder = Path(deb), Path(folder)
    name, version = package_of(deb)
    target = folder / f"{name}_{version.replace(':', '%3a')}"
    if (target / ROOT_FILE).is_file():
        return target
    if not deb.is_file():
        raise InputError(f"package '{deb}' is missing; download it again")
    part = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder, prefix=".unpack-"))
        with deb.open("rb") as file:
            _check_version(file, deb)
            _find_member(file, deb, "data.tar")
            _unpack_tar(file, part, deb, keep)
        part.chmod(_usual_mode(folder))  # a temporary folder is its owner's alone
        (part / ROOT_FILE).write_text(f"{name} {version}\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"'{deb}' is damaged ({error}); delete it and download it again") from error
    except OSError as error:
        if error.errno in NAME_FAULTS and part is not None:
            raise InputError(
                f"'{deb}' has a file of a name that cannot be ({error.strerror}); do not use it"
            ) from error
        raise _cannot_write(folder, error) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    return target


def _usual_mode(folder: Path) -> int:
    """The mode that a new folder gets here: the system knows the umask and the folder's own defaults."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".mode-") as probe:
        inner = Path(probe) / "x"
        inner.mkdir()
        return stat.S_IMODE(inner.stat().st_mode)


def _cannot_write(folder: Path, error: OSError) -> CannotWriteError:
    existing = next((place for place in (folder, *folder.parents) if place.is_dir()), Path("/"))
    return CannotWriteError(f"cannot write to '{folder}': {describe_write_fault(error, existing)}")


def _check_version(file: IO[bytes], deb: Path) -> None:
    """Holds what a package says of itself, if it does, against the name of its file."""
    if not _find_member(file, deb, "control.tar", is_needed=False):
        return
    with _open_tar(file) as tar:
        control = next((member for member in tar if member.name in ("control", "./control")), None)
        inside = tar.extractfile(control) if control is not None and control.isreg() else None
        text = b"" if inside is None else inside.read(MAX_CONTROL)
    fields = dict(line.split(": ", 1) for line in text.decode("utf-8", "replace").splitlines() if ": " in line)
    given = package_of(deb)
    found = fields.get("Package", given[0]), fields.get("Version", given[1])
    if found != given:
        raise InputError(
            f"'{deb.name}' holds package '{found[0]}' of version {found[1]}; give packages their own names back"
        )


def _find_member(file: IO[bytes], deb: Path, wanted: str, is_needed: bool = True) -> bool:
    """Goes to the first byte of an archive, as 'data.tar', inside a .deb, which is an 'ar' archive."""
    damaged = f"'{deb}' is no Debian package or is cut off; delete it and download it again"
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    if file.read(8) != b"!<arch>\n":
        raise InputError(damaged)
    while len(header := file.read(60)) == 60:
        length = header[48:58].strip()
        if header[58:] != b"`\n" or not length.isdigit() or file.tell() + int(length) > size:
            raise InputError(damaged)
        if header.startswith(wanted.encode()):
            if header.startswith(f"{wanted}.zst".encode()):
                raise InputError(f"'{deb}' is compressed with zstd; repack it with 'dpkg-deb -Zxz', or use Debian's")
            return True
        file.seek(int(length) + int(length) % 2, 1)
    if is_needed:
        raise InputError(damaged)
    return False


def _open_tar(file: IO[bytes]) -> tarfile.TarFile:
    """Opens the tar archive at the place of a file where it is, whatever it is compressed with."""
    size = os.fstat(file.fileno()).st_size
    return tarfile.TarFile(fileobj=cast(IO[bytes], UnpackedStream(file, size, MAX_PACKAGE_GROWTH)))


def _unpack_tar(file: IO[bytes], target: Path, deb: Path, keep: Callable[[str], bool] | None) -> None:
    """Writes the wanted files of a tar stream; only plain files, all below `target`."""
    total = 0
    with _open_tar(file) as tar:
        for count, member in enumerate(tar):
            vars(tar)["members"] = []  # it remembers all of them otherwise
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or "\0" in member.name:
                raise InputError(f"'{deb}' has a file '{member.name}' that would lie outside its folder; do not use it")
            total += max(member.size, 0)
            if total > MAX_UNPACKED or count > MAX_MEMBERS:
                raise InputError(
                    f"'{deb}' would unpack to over {MAX_UNPACKED >> 30} GB or too many files; do not use it"
                )
            if not member.isreg():  # links lead elsewhere, and no source needs them
                continue
            name = str(path)
            if keep is not None and not keep(name) and not name.startswith("usr/share/doc/"):
                continue
            source, place = tar.extractfile(member), target / path
            assert source is not None  # a plain file has content
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb" if not place.exists() else "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
