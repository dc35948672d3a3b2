"""`scripts/prepare_data.py`: Debian packages -> shapes, one package after the other, going on where it was stopped.

What a mesh gives is kept as a file in <out>/work until all is packed, so nothing is done twice and the result depends
neither on the number of processes nor on interruptions.
"""

import hashlib
import json
import logging
import math
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pointrecon.datasets.sets.debshapes import FEATURES
from pointrecon.tools.debshapes.pack import Entry, is_packed, pack_shapes
from pointrecon.tools.debshapes.select import Rules, select
from pointrecon.tools.debshapes.shape import RECIPE, make_shape
from pointrecon.tools.debshapes.sheets import draw_sheets
from pointrecon.tools.debshapes.sources.names import load_table
from pointrecon.tools.debshapes.sources.packages import (
    CannotWriteError,
    download,
    find_package,
    find_unpacked,
    package_of,
    unpack,
)
from pointrecon.tools.debshapes.sources.sources import SOURCES, Item, Source
from pointrecon.tools.debshapes.sources.text import NAMING, text_of
from pointrecon.tools.debshapes.summary import count_shapes
from pointrecon.tools.debshapes.work import TIME_LIMIT, Work
from pointrecon.utils.errors import InputError, nearest
from pointrecon.utils.files.io import read_json, write_json
from pointrecon.utils.log import format_seconds, progress_bar
from pointrecon.utils.processes.pool import TaskPool

SUMMARY = "summary.json"
MEMORY = 1_500_000_000  # bytes of data a process may hold
PRELOAD = (
    "pointrecon.tools.debshapes.shape",
    "pointrecon.extensions.ops",
    "scipy.sparse.csgraph",
    "PIL.WebPImagePlugin",
)

VERSIONS: dict[str, str] = load_table("packages")  # that the documented data set was made from

log = logging.getLogger("recon")


@dataclass(frozen=True)
class Options:
    """What is to be made.

    Attributes:
        out: Folder of the finished data set.
        sources: Keys of SOURCES; None: all that are not optional.
        packages: Folder with .deb files; None: they are downloaded, and removed when they have been read.
        jobs: Processes.
        time_limit: Seconds that one mesh may take.
        rules: Which shapes stay.
        limit: At most this many meshes a package, drawn evenly; None: all.
        keeps_work: Whether <out>/work stays at the end.
    """

    out: Path
    sources: tuple[str, ...] | None = None
    packages: Path | None = None
    jobs: int = 1
    time_limit: float = 60.0
    rules: Rules = field(default_factory=Rules)
    limit: int | None = None
    keeps_work: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.time_limit) and self.time_limit > 0):
            raise InputError(f"time_limit is {self.time_limit}, but must be a number of seconds above 0")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit is {self.limit}, but must be at least 1")
        if self.jobs < 1:
            raise InputError(f"jobs is {self.jobs}, but must be at least 1")

    @property
    def work(self) -> Work:
        """What has been made on the way."""
        return Work(self.out, self.limit, self.time_limit)

    def describe(self) -> dict[str, Any]:
        """What the result depends on."""
        sources = sorted(pick_sources(self.sources))
        return {"recipe": RECIPE, "naming": NAMING, "sources": sources, "limit": self.limit, **self.rules.describe()}


def prepare(options: Options) -> dict[str, Any]:
    """Makes the data set.

    Args:
        options: See there.

    Returns:
        The summary, as <out>/summary.json holds it: counts by source and cause, versions, checksum.

    Raises:
        InputError: An unknown source, no folder of packages, no package at all, no shape left, or a full disk. What has
            been made stays, and the next run goes on from there.
    """
    start = time.monotonic()
    sources = pick_sources(options.sources)
    if options.packages is not None and not options.packages.is_dir():
        raise InputError(f"'{options.packages}' is no folder; give the one that has the .deb files")
    done = _done(options)
    if done is not None:
        log.info(f"'{options.out}' is complete; remove it to make it again")
        return done
    items, versions, missing = _read_packages(sources, options)
    if not items:
        raise InputError("no mesh was found in any package; the messages above say why")
    failures = {item.id: options.work.failure(item) for item in items}
    late = sum(cause == TIME_LIMIT for cause in failures.values())
    warnings = check_versions(versions) + _check_time(late, options)
    good = [item for item in items if failures[item.id] is None]
    kept, left_out = select(good, [options.work.place(item, ".npz") for item in good], options.rules)
    counts = count_shapes(items, kept, failures, left_out)
    if not kept:
        causes = sum((Counter(source["left_out"]) for source in counts.values()), Counter())
        named = ", ".join(f"{cause} {count}" for cause, count in causes.items())
        raise InputError(f"no shape is left of {len(items)} meshes ({named}); give more sources")
    (options.out / SUMMARY).unlink(missing_ok=True)  # it speaks of the files that are replaced now
    _remove_features(options.out)
    checksum = pack_shapes(options.out, [_entry(item, options.work.place(item, ".npz")) for item in kept])
    summary = {
        "settings": options.describe(),
        "checksum": checksum,
        "num_meshes": len(items),
        "num_shapes": len(kept),
        "sources": counts,
        "versions": versions,
        "missing": missing,
        "late": late,
        "time_limit": options.time_limit,
        "warnings": warnings,
        "minutes": round((time.monotonic() - start) / 60, 1),
    }
    draw_sheets(options.out.parent)
    write_json(summary, options.out / SUMMARY)
    _clear(options, missing, late)
    return summary


def _read_packages(sources: dict[str, Source], options: Options) -> tuple[list[Item], dict[str, str | None], list[str]]:
    """Makes the shapes of all packages.

    Returns:
        The items, sorted by id; package -> version, None without a mesh; the packages that could not be had in full.
    """
    items: list[Item] = []
    versions: dict[str, str | None] = {}
    missing: list[str] = []
    with TaskPool(make_shape, options.jobs, options.time_limit, MEMORY, PRELOAD) as pool:
        for source, package in [(item, package) for item in sources.values() for package in item.packages]:
            found: list[Item] = []
            for part in range(source.num_parts):
                read = _read_part(source, package, part, options, pool)
                if read is None:
                    missing.append(package)
                    break
                found += read
            versions[package] = found[0].version if found else None
            items += found
    return sorted(items, key=lambda item: item.id), versions, missing


def _check_time(late: int, options: Options) -> list[str]:
    """Warns of meshes that took too long, which may come of a busy machine and not of the mesh."""
    if not late:
        return []
    problem = (
        f"{late} meshes took over {options.time_limit:g} s and are left out; if the machine was busy, start again with "
        f"a larger --time_limit ('{options.work.folder}' stays for that)"
    )
    log.warning(problem)
    return [problem]


def _clear(options: Options, missing: Sequence[str], late: int) -> None:
    """Removes what has been made on the way, unless the next run can use it."""
    if missing:
        log.warning(
            f"made without {', '.join(missing)}; '{options.work.folder}' stays, so that the next run adds what was "
            "missing (or leave it out with --sources)"
        )
    elif not options.keeps_work and not late:
        shutil.rmtree(options.work.folder)


def pick_sources(names: Sequence[str] | None) -> dict[str, Source]:
    """Returns the sources of these names, by default all that are not optional.

    Raises:
        InputError: There is no source of that name.
    """
    if names is None:
        return {name: source for name, source in SOURCES.items() if not source.is_optional}
    for name in names:
        if name not in SOURCES:
            raise InputError(f"there is no source '{name}'; {nearest(name, SOURCES)}")
    return {name: SOURCES[name] for name in dict.fromkeys(names)}


def check_versions(found: dict[str, str | None]) -> list[str]:
    """Names the packages that are missing or of another version than those of the documented result, and warns."""
    problems = []
    for package, version in found.items():
        expected = VERSIONS.get(package)
        if version is None:
            problems.append(f"package '{package}' gave no mesh; the checksum will differ")
        elif expected is not None and version != expected:
            problems.append(
                f"package '{package}' is of version {version}, not {expected}; the checksum will differ from the "
                "documented one"
            )
    for problem in problems:
        log.warning(problem)
    return problems


def _read_part(source: Source, package: str, part: int, options: Options, pool: TaskPool) -> list[Item] | None:
    """Makes the shapes of one part of a package that are not there yet; returns its items, None if it cannot be had."""
    is_last = part == source.num_parts - 1
    title = package if source.num_parts == 1 else f"{package} ({part + 1}/{source.num_parts})"
    listing = options.work.listing(package, None if source.num_parts == 1 else part)
    start = time.monotonic()
    items = options.work.read_list(listing, _version_given(package, options))
    if items is not None and not options.work.missing(items):
        return items
    folder = options.work.folder / "unpacked" / listing.stem
    deb = None
    try:
        root = find_unpacked(package, folder) if options.packages is None else None
        if root is None:
            deb = _fetch(package, options)
            log.info(f"{title}: unpacking")
            root = unpack(deb, folder, source.keep_of(part))
        if is_last and deb is not None and options.packages is None:
            deb.unlink(missing_ok=True)  # it takes room, and is not needed again
        items = _list_items(source, root)
        items = _thin(items, options.limit and -(-options.limit // source.num_parts))
    except CannotWriteError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except InputError as error:
        log.warning(f"package '{package}' is left out: {error}")
        shutil.rmtree(folder, ignore_errors=True)
        if deb is not None and options.packages is None:
            deb.unlink(missing_ok=True)  # the next run downloads it again
        return None
    options.work.write_list(listing, items)
    todo = options.work.missing(items)
    for (_, item), result in progress_bar(pool.run((str(root), item) for item in todo), title, len(todo)):
        options.work.store(item, result)
    shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - start
    log.info(f"{title}: {len(items)} meshes, {len(todo)} read now, {format_seconds(seconds)}")
    return items


def _list_items(source: Source, root: Path) -> list[Item]:
    """Lists the meshes of an unpacked package; whatever its files make the listing stumble over is an InputError."""
    try:
        return sorted(source.list_items(root), key=lambda item: item.id)
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, OSError, NotImplementedError) as error:
        raise InputError(f"its meshes cannot be listed ({type(error).__name__}: {error})") from error


def _version_given(package: str, options: Options) -> str | None:
    """The version of a package in the user's folder; None if there is no such folder or no such file."""
    found = find_package(package, options.packages) if options.packages is not None else None
    return package_of(found)[1] if found is not None else None


def _fetch(package: str, options: Options) -> Path:
    if options.packages is None:
        return download([package], options.out / "work" / "packages")[0]
    found = find_package(package, options.packages)
    if found is None:
        raise InputError(f"there is no '{package}_*.deb' in '{options.packages}'")
    return found


def _thin(items: list[Item], limit: int | None) -> list[Item]:
    if limit is None or len(items) <= limit:
        return items
    drawn = sorted(items, key=lambda item: hashlib.sha256(item.id.encode()).digest())[:limit]
    return sorted(drawn, key=lambda item: item.id)


def _remove_features(out: Path) -> None:
    """Removes teacher features, finished or not: they are of other shapes than those that are packed next."""
    (out / FEATURES).unlink(missing_ok=True)
    for started in out.glob(f".{FEATURES}.parts-*"):
        shutil.rmtree(started)


def _entry(item: Item, file: Path) -> Entry:
    row = {name: getattr(item, name) for name in ("id", "package", "version", "path", "name", "licence", "creator")}
    return Entry({**row, "text": text_of(item)}, file)


def _done(options: Options) -> dict[str, Any] | None:
    """The summary of a finished data set of these settings; an unfinished or spoilt one goes on."""
    try:
        summary = read_json(options.out / SUMMARY)
    except InputError:
        return None
    settings = json.loads(json.dumps(options.describe()))
    is_known = isinstance(summary, dict) and {"settings", "checksum", "sources"} <= summary.keys()
    if is_known and summary["settings"] == settings:
        if summary.get("missing") or (summary.get("late") and options.time_limit > summary["time_limit"]):
            return None
        if is_packed(options.out):
            return summary
        log.warning(f"files of '{options.out}' are missing or do not belong together; they are made anew")
    elif not options.work.folder.is_dir():
        log.info(f"'{options.out}' was made with other settings and is made anew")
    return None
