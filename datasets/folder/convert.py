"""All files of a folder to one HDF5 file of clouds, in child processes; made again only for files that have changed.

Shape legend: n files, N points a file.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from pointrecon.datasets.folder.listing import FileItem
from pointrecon.datasets.folder.sampling import SampledFile, sample_file
from pointrecon.datasets.folder.up_axis import UpGuess, guess_up
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, open_hdf5
from pointrecon.utils.log import progress_bar
from pointrecon.utils.processes.pool import Failure, TaskPool

FORMAT = "pointrecon folder 1"
CACHE_NAME = ".pointrecon"  # folder for the file, in the user's folder or, if that is read-only, in the user's cache
TIME_LIMIT = 120.0  # seconds for one file
MEMORY = 4 << 30  # bytes that a reading process may hold
NUM_GUESSED = 200  # files that the up axis is guessed from

log = logging.getLogger("recon")


@dataclass
class Converted:
    """The clouds of a folder.

    Attributes:
        path: The HDF5 file: `points` (n, N, 3) float16 in the files' axes, in the unit sphere, farthest points first.
        items: The n files that were read, in the order of the rows.
        skipped: id -> why a file could not be read.
        up: The guess of the up axis.
    """

    path: Path
    items: list[FileItem]
    skipped: dict[str, str]
    up: UpGuess


def convert_files(
    items: Sequence[FileItem],
    cache_folder: Path,
    *,
    num_points: int = 8192,
    seed: int = 0,
    jobs: int | None = None,
) -> Converted:
    """Samples every file that the cache does not have yet, and writes the cache anew if anything has changed.

    Args:
        items: The files.
        cache_folder: Where the HDF5 file is kept.
        num_points: N.
        seed: Of the sampling.
        jobs: Child processes; None: one for each core.

    Raises:
        InputError: No file can be read, or the cache cannot be written.
    """
    path = cache_folder / f"shapes-{num_points}-{seed}.h5"
    keys = {item.id: _key_of(item.path) for item in items}
    old = _Cache(path)
    known = {name: row for name, row in old.rows.items() if name in keys and old.keys[name] == keys[name]}
    refused = {name: why for name, (key, why) in old.skipped.items() if keys.get(name) == key}
    todo = [item for item in items if item.id not in known and item.id not in refused]
    is_same = not todo and len(known) == len(old.rows) and len(refused) == len(old.skipped)
    fresh: dict[str, SampledFile] = {}
    for item, result in _sample_all(todo, num_points, seed, jobs or os.cpu_count() or 1):
        if isinstance(result, Failure):
            refused[item.id] = result.message
            log.warning(f"skipped '{item.path}': {result.message}")
        else:
            fresh[item.id] = result
    kept = [item for item in items if item.id in known or item.id in fresh]
    if not kept:
        raise InputError(f"none of the {len(items)} files can be read; the first: {next(iter(refused.values()))}")
    if not is_same:
        points = [old.points(known[item.id]) if item.id in known else fresh[item.id].points for item in kept]
        _write(path, kept, np.stack(points).astype(np.float16), keys, refused)
    every = max(1, len(kept) // NUM_GUESSED)
    cache = _Cache(path)
    clouds = [cache.points(cache.rows[item.id])[:1024].astype(np.float64) for item in kept[::every]]
    up = guess_up(clouds, [item.path.suffix for item in kept[::every]])
    return Converted(path, kept, refused, up)


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


class _Cache:
    """What an earlier call has left; empty if nothing or something else is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, int] = {}
        self.keys: dict[str, str] = {}
        self.skipped: dict[str, tuple[str, str]] = {}
        self._file: Any = None
        if not path.is_file():
            return
        try:
            with open_hdf5(path) as file:
                if file.text_attribute("format") != FORMAT:
                    return
                names, keys = file.read_texts("ids"), file.read_texts("keys")
                self.skipped = {name: (key, why) for name, key, why in json.loads(file.read_texts("skipped")[0])}
        except (InputError, KeyError, ValueError, IndexError):
            log.warning(f"'{path}' is damaged and is made again")
            return
        self.rows = {name: row for row, name in enumerate(names)}
        self.keys = dict(zip(names, keys, strict=True))

    def points(self, row: int) -> np.ndarray:
        """(N, 3) float16."""
        if self._file is None:
            self._file = h5py.File(self.path, "r")
        return self._file["points"][row]


def _write(
    path: Path, items: Sequence[FileItem], points: np.ndarray, keys: dict[str, str], skipped: dict[str, str]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = h5py.string_dtype()
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        file.create_dataset("points", data=points)
        file.create_dataset("ids", data=[item.id for item in items], dtype=text)
        file.create_dataset("keys", data=[keys[item.id] for item in items], dtype=text)
        left = [[name, keys[name], why] for name, why in skipped.items()]
        file.create_dataset("skipped", data=[json.dumps(left)], dtype=text)


def _key_of(path: Path) -> str:
    """Says whether a file is still the one that was read."""
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def _sample_all(items: Sequence[FileItem], num_points: int, seed: int, jobs: int) -> Any:
    """Yields (item, SampledFile or Failure) as files are done."""
    if not items:
        return
    by_path = {str(item.path): item for item in items}
    tasks = [(path, num_points, seed) for path in by_path]
    with TaskPool(sample_task, min(jobs, len(tasks)), TIME_LIMIT, MEMORY) as pool:
        for task, result in progress_bar(pool.run(tasks), "reading shapes", len(tasks)):
            yield by_path[task[0]], result


def sample_task(task: tuple[str, int, int]) -> SampledFile:
    """(path, num_points, seed) -> the cloud; for child processes."""
    torch.set_num_threads(1)
    path, num_points, seed = task
    return sample_file(Path(path), num_points=num_points, seed=seed)
