"""All files of a folder to one HDF5 file of clouds, in child processes; made again only for files that have changed.

Shape legend: n files, N points a file.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from pointrecon.datasets.folder.listing import FileItem
from pointrecon.datasets.folder.sampling import SampledFile, sample_file
from pointrecon.datasets.folder.up_axis import UpGuess, guess_up
from pointrecon.datasets.packed.places import alone
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, open_hdf5
from pointrecon.utils.log import progress_bar
from pointrecon.utils.processes.pool import Failure, TaskPool

FORMAT = "pointrecon folder 3"
CACHE_NAME = ".pointrecon"  # folder for the file, in the user's folder or, if that is read-only, in the user's cache
TIME_LIMIT = 120.0  # seconds for one file
MEMORY = 4 << 30  # bytes that a reading process may hold
NUM_GUESSED = 200  # files that the up axis is guessed from
ROUND = 4000  # files after which the cache is written, so that a call that is stopped loses no more than these
MAX_TOLD = 20  # skipped files that the log names; the report names all
REPORT = "skipped.txt"
_STOPPED = ", stopped after "  # in the key of a file that took too long, with the seconds that it was given
# Files whose name differs in the suffix alone and that belong to a shape.
COMPANIONS = {".gltf": (".bin",), ".obj": (".mtl",)}

log = logging.getLogger("recon")


@dataclass
class Converted:
    """The clouds of a folder.

    Attributes:
        path: The HDF5 file: `points` (rows, N, 3) float16 in the files' axes, in the unit sphere, farthest points
            first; `colors` (rows, N, 3) uint8 if some file has colours.
        items: The n files that were read.
        rows: (n,) the row of each in the HDF5 file.
        has_colors: (n,) bool.
        skipped: id -> why a file could not be read.
        up: The guess of the up axis.
    """

    path: Path
    items: list[FileItem]
    rows: np.ndarray
    has_colors: np.ndarray
    skipped: dict[str, str]
    up: UpGuess


def convert_files(
    items: Sequence[FileItem],
    cache_folder: Path,
    *,
    num_points: int = 4096,
    seed: int = 0,
    jobs: int | None = None,
    time_limit: float = TIME_LIMIT,
) -> Converted:
    """Samples every file that the cache does not have yet, and writes the cache anew if anything has changed.

    Args:
        items: The files.
        cache_folder: Where the HDF5 file is kept.
        num_points: N.
        seed: Of the sampling.
        jobs: Child processes; None: one for each core.
        time_limit: Seconds for one file.

    Raises:
        InputError: No file can be read, or the cache cannot be written.
    """
    path = cache_folder / f"shapes-{num_points}-{seed}.h5"
    keys = {item.id: _key_of(item.path) for item in items}
    cache = Cache(path)
    if not _is_complete(cache, keys, time_limit):
        with alone(path, "the clouds of these files"):  # of several processes one reads the files
            cache = Cache(path)
            if not _is_complete(cache, keys, time_limit):
                tasks = Reading(num_points, seed, jobs or os.cpu_count() or 1, time_limit)
                cache = _read_changed(cache, items, keys, tasks)
    kept = [item for item in items if item.id in cache.rows]
    refused = {name: why for name, (_, why) in cache.skipped.items() if name in keys}
    if not kept:
        raise InputError(f"none of the {len(items)} files can be read; the first: {next(iter(refused.values()))}")
    rows = np.array([cache.rows[item.id] for item in kept])
    every = max(1, len(kept) // NUM_GUESSED)
    clouds = [cache.points(row)[:1024].astype(np.float64) for row in rows[::every]]
    up = guess_up(clouds, [item.path.suffix for item in kept[::every]])
    return Converted(path, kept, rows, cache.has_colors[rows], refused, up)


def cache_folder_of(root: Path) -> Path:
    """Where the clouds of a folder are kept: inside it or, if it is read-only, in the user's cache folder.

    Raises:
        InputError: Neither can be written.
    """
    folder = root if root.is_dir() else root.parent
    if os.access(folder, os.W_OK):
        return folder / CACHE_NAME
    base = os.environ.get("XDG_CACHE_HOME") or (Path(os.environ["HOME"]) / ".cache" if "HOME" in os.environ else None)
    if base is None:
        raise InputError(f"'{folder}' is read-only and there is no home folder; set XDG_CACHE_HOME")
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return Path(base) / "pointrecon" / f"{folder.name}-{name}"


class Cache:
    """What an earlier call has left; empty if nothing or something else is there.

    Args:
        path: The HDF5 file.

    Attributes:
        rows: id -> row.
        keys: id -> what told the file's content when it was read.
        skipped: id -> that key, and why the file could not be read.
        has_colors: (rows,) bool.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, int] = {}
        self.keys: dict[str, str] = {}
        self.skipped: dict[str, tuple[str, str]] = {}
        self.has_colors = np.zeros(0, bool)
        self._file: Any = None
        if not path.is_file():
            return
        try:
            with open_hdf5(path) as file:
                if file.text_attribute("format") != FORMAT:
                    return
                names, keys = file.read_texts("ids"), file.read_texts("keys")
                skipped = {
                    name: (_check_key(key, why), why) for name, key, why in json.loads(file.read_texts("skipped")[0])
                }
                has_colors = file.read("has_colors", "u", 1).astype(bool)
            rows = {name: row for row, name in enumerate(names)}
            self.keys = dict(zip(names, keys, strict=True))
            self.rows, self.skipped, self.has_colors = rows, skipped, has_colors
        except (InputError, KeyError, ValueError, IndexError, TypeError):
            log.warning(f"'{path}' is damaged and is made again")

    def points(self, row: int) -> np.ndarray:
        """(N, 3) float16."""
        return self._values("points")[row]

    def colors(self, row: int) -> np.ndarray | None:
        """(N, 3) uint8, or None."""
        return self._values("colors")[row] if self.has_colors[row] else None

    def _values(self, name: str) -> Any:
        if self._file is None:
            self._file = h5py.File(self.path, "r")
        return self._file[name]


@dataclass(frozen=True)
class Reading:
    """How files are read: points each, seed, processes, seconds for one."""

    num_points: int
    seed: int
    jobs: int
    time_limit: float


def is_current(known: str, key: str, time_limit: float) -> bool:
    """Whether what a cache has of a file still holds: the file has not changed, and would not be given more time.

    Args:
        known: What told the file's content when it was read.
        key: The same now.
        time_limit: Seconds for it.
    """
    before, stopped, seconds = known.partition(_STOPPED)
    try:
        return before == key and (not stopped or float(seconds) >= time_limit)
    except ValueError:  # of a damaged file
        return False


def key_of_failure(key: str, cause: str, time_limit: float) -> str:
    """The key of a file that could not be read: whether it is tried again the next time is seen by it."""
    if cause == "missing package":
        return ""
    return f"{key}{_STOPPED}{time_limit!r}" if cause == "time limit" else key


def _is_complete(cache: Cache, keys: Mapping[str, str], time_limit: float) -> bool:
    """Whether the cache has these files as they are now; it may have others."""
    known = {**cache.keys, **{name: key for name, (key, _) in cache.skipped.items()}}
    return all(is_current(known.get(name, ""), key, time_limit) for name, key in keys.items())


def _read_changed(old: Cache, items: Sequence[FileItem], keys: dict[str, str], reading: Reading) -> Cache:
    """Reads what the cache lacks, in rounds; returns the new cache. What it has of other files stays.

    Raises:
        InputError: Nothing can be read.
    """
    keys = {**old.keys, **keys}
    known = [name for name in old.rows if keys[name] == old.keys[name]]
    refused = {
        name: (key, why)
        for name, (key, why) in old.skipped.items()
        if name not in keys or is_current(key, keys[name], reading.time_limit)
    }
    done = {*known, *refused}
    todo = [item for item in items if item.id not in done]
    told = 0
    for start in range(0, max(len(todo), 1), ROUND):
        fresh: dict[str, SampledFile] = {}
        for item, result in _sample_all(todo[start : start + ROUND], reading):
            if not isinstance(result, Failure):
                fresh[item.id] = result
                continue
            key = key_of_failure(keys[item.id], result.cause, reading.time_limit)
            refused[item.id] = (key, result.message)
            told += 1
            if told <= MAX_TOLD:
                log.warning(f"skipped '{item.path}': {result.message}")
        names = [*known, *fresh]
        if not names:
            continue
        if fresh or len(names) != len(old.rows) or refused != old.skipped:
            _write(old, names, fresh, keys, refused)
        known, old = names, Cache(old.path)
    if not known:
        raise InputError(f"none of the {len(items)} files can be read; the first: {next(iter(refused.values()))[1]}")
    if told > MAX_TOLD:
        log.warning(f"{told} files were skipped; all are named in '{old.path.parent / REPORT}'")
    report = "".join(f"{name}\t{why}\n" for name, (_, why) in sorted(refused.items()))
    with atomic_write(old.path.parent / REPORT) as temporary:
        temporary.write_text(report, encoding="utf-8", errors="surrogateescape")  # names of files
    return old


def _write(
    old: Cache,
    names: Sequence[str],
    fresh: Mapping[str, SampledFile],
    keys: Mapping[str, str],
    skipped: Mapping[str, tuple[str, str]],
) -> None:
    """Writes the clouds of `names`, each from `fresh` or from the old cache."""
    text = h5py.string_dtype()
    first = next(iter(fresh.values()), None)
    size = len(first.points) if first is not None else len(old.points(0)) if old.rows else 0
    has_colors = [
        fresh[name].colors is not None if name in fresh else bool(old.has_colors[old.rows[name]]) for name in names
    ]
    with atomic_write(old.path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        points = file.create_dataset("points", (len(names), size, 3), np.float16)
        colors = file.create_dataset("colors", (len(names), size, 3), np.uint8) if any(has_colors) else None
        for row, name in enumerate(names):
            is_fresh = name in fresh
            points[row] = fresh[name].points if is_fresh else old.points(old.rows[name])
            if colors is not None and has_colors[row]:
                colors[row] = fresh[name].colors if is_fresh else old.colors(old.rows[name])
        file.create_dataset("has_colors", data=np.array(has_colors, np.uint8))
        file.create_dataset("ids", data=list(names), dtype=text)
        file.create_dataset("keys", data=[keys[name] for name in names], dtype=text)
        left = [[name, key, why] for name, (key, why) in skipped.items()]
        file.create_dataset("skipped", data=[json.dumps(left)], dtype=text)


def _check_key(key: str, why: str) -> str:
    """The key of a file that was left out, an empty one if an earlier version has not kept the time it was given."""
    return key if not why.startswith("took over ") or _STOPPED in key else ""


def _key_of(path: Path) -> str:
    """Says whether a file, with those that belong to it, is still the one that was read."""
    parts = []
    for place in (path, *(path.with_suffix(suffix) for suffix in COMPANIONS.get(path.suffix.lower(), ()))):
        try:
            status = place.stat()
            parts.append(f"{status.st_size} {status.st_mtime_ns}")
        except OSError:
            parts.append("missing")
    return ", ".join(parts)


def _sample_all(items: Sequence[FileItem], reading: Reading) -> Iterator[tuple[FileItem, SampledFile | Failure]]:
    """Yields (item, SampledFile or Failure) as files are done."""
    if not items:
        return
    tasks = [(str(row), str(item.path), reading.num_points, reading.seed) for row, item in enumerate(items)]
    with TaskPool(sample_task, min(reading.jobs, len(tasks)), reading.time_limit, MEMORY) as pool:
        for task, result in progress_bar(pool.run(tasks), "reading shapes", len(tasks)):
            yield items[int(task[0])], result


def sample_task(task: tuple[str, str, int, int]) -> SampledFile:
    """(row, path, num_points, seed) -> the cloud; for child processes."""
    torch.set_num_threads(1)
    _, path, num_points, seed = task
    return sample_file(Path(path), num_points=num_points, seed=seed)
