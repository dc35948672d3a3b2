"""OpenShape's distribution, tar files of pickled dicts or the unpacked folders, into shards without pickles.

A source is a tar file or a folder of objects. Each is converted by one process into shards of its own and a list of
them, which is written last: what has its list is not converted again.
"""

import contextlib
import hashlib
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointrecon.datasets.open.objects import OpenObject, parse_object
from pointrecon.datasets.open.shards import FORMAT, MANIFEST, write_shard
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.archives import UnpackedStream
from pointrecon.utils.files.io import read_json, write_json
from pointrecon.utils.files.safe_pickle import load_npy_objects
from pointrecon.utils.processes.pool import Failure, TaskPool

SUFFIXES = (".tar.gz", ".tgz", ".tar")
SHARD_SIZE = 1000
MAX_OBJECT = 64 << 20  # bytes of one object's file
MAX_NAMED = 100  # objects that were skipped, in a list
BUFFER = 1 << 16  # bytes; what is left of it is copied with each read
GROWTH = 64  # a stream of objects is never in memory as a whole
TIME_LIMIT = 24 * 3600.0  # seconds for one source


@dataclass(frozen=True)
class Task:
    """One source.

    Attributes:
        source: Tar file or folder.
        name: Of its shards.
        out: Folder to write.
        shard_size: Objects of a shard.
        is_lenient: Objects that cannot be used are skipped and counted.
    """

    source: str
    name: str
    out: str
    shard_size: int
    is_lenient: bool


def find_sources(root: Path) -> list[tuple[str, Path]]:
    """Tar files below a folder, or the folders of unpacked objects, by name.

    Raises:
        InputError: There is neither.
    """
    if root.is_file() and root.name.endswith(SUFFIXES):
        return [(_stem(root), root)]
    files = sorted(path for suffix in SUFFIXES for path in root.rglob(f"*{suffix}"))
    if files:
        named = [("-".join([*path.relative_to(root).parts[:-1], _stem(path)]), path) for path in files]
    else:
        folders = sorted({path.parent for path in root.rglob("*.npy")})
        named = [("-".join(path.relative_to(root).parts) or "objects", path) for path in folders]
    names = [name for name, _ in named]
    if twice := next((name for name in names if names.count(name) > 1), None):
        both = " and ".join(f"'{path}'" for name, path in named if name == twice)
        raise InputError(f"{both} would be shards of one name, '{twice}'; rename one, or convert them apart")
    if not named:
        raise InputError(f"'{root}' has neither tar files ({' '.join(SUFFIXES)}) nor .npy files of objects")
    return named


def convert(
    root: Path, out: Path, *, jobs: int = 1, shard_size: int = SHARD_SIZE, is_lenient: bool = False
) -> dict[str, Any]:
    """Converts everything below a folder.

    Args:
        root: What was downloaded.
        out: Folder to write; what is there from an interrupted call stays.
        jobs: Processes.
        shard_size: Objects of a shard.
        is_lenient: As for `Task`.

    Returns:
        The manifest, which is also written.

    Raises:
        InputError: An object that cannot be used, sources of different feature widths, or nothing to convert.
    """
    if shard_size < 1 or jobs < 1:
        raise InputError(f"jobs is {jobs} and shard_size {shard_size}, but both must be at least 1")
    sources = find_sources(root)
    tasks = [Task(str(path), name, str(out), shard_size, is_lenient) for name, path in sources]
    todo = [task for task in tasks if not _is_done(task)]
    if jobs == 1 or len(todo) < 2:
        for task in todo:
            convert_source(task)
    else:
        with TaskPool(convert_source, min(jobs, len(todo)), TIME_LIMIT, None) as pool:
            for task, result in pool.run(todo):
                if isinstance(result, Failure):
                    raise InputError(f"'{task.source}': {result.message}")
    return _write_manifest(out, tasks)


def convert_source(task: Task) -> None:
    """Writes the shards of one source and, last, their list; for child processes."""
    shards: list[dict[str, Any]] = []
    skipped: Counter[str] = Counter()
    named: list[str] = []
    counts: Counter[str] = Counter()
    batch: list[OpenObject] = []
    width: int | None = None
    sums: dict[str, Any] = {}
    for where, data in _read(Path(task.source)):
        try:
            one = parse_object(load_npy_objects(where, data), f"'{where}'", width)
        except InputError as error:
            if not task.is_lenient:
                raise
            skipped[str(error).split("' ", 1)[-1][:80]] += 1
            named += [where][: MAX_NAMED - len(named)]
            continue
        width = one.views.shape[1]
        counts.update(objects=1, points=len(one.points), views=len(one.views), texts=len(one.texts))
        counts.update(without_text=not one.texts, without_colour=one.colors is None)
        for name, features in (("image", one.views), ("text", one.text_features)):
            sums[name] = sums.get(name, 0.0) + torch.from_numpy(features).sum(dim=0, dtype=torch.float32).double()
        batch.append(one)
        if len(batch) == task.shard_size:
            shards.append(_write(batch, task, len(shards)))
            batch = []
    if batch:
        shards.append(_write(batch, task, len(shards)))
    about = {"format": FORMAT, "source": task.source, "shard_size": task.shard_size, "width": width, "shards": shards}
    about["stamp"] = _stamp(Path(task.source))
    about["sums"] = {name: total.tolist() for name, total in sums.items()}
    write_json({**about, "counts": counts, "skipped": skipped, "skipped_files": named}, _list_of(task))


def _write(batch: Sequence[OpenObject], task: Task, number: int) -> dict[str, Any]:
    path = Path(task.out) / f"{task.name}-{number:06d}.safetensors"
    write_shard(batch, path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return {"file": path.name, "count": len(batch), "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _read(source: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every object's file, in the order of the source."""
    if source.is_dir():
        for path in sorted(source.glob("*.npy")):
            if path.stat().st_size > MAX_OBJECT:
                raise InputError(f"'{path}' has {path.stat().st_size:,} bytes; an object has {MAX_OBJECT:,} at most")
            yield str(path), path.read_bytes()
        return
    try:
        with source.open("rb") as file, contextlib.closing(_open_tar(file, source)) as archive:
            for member in archive:
                name = f"{source}/{member.name}"
                if not member.isreg() or not member.name.endswith(".npy"):
                    continue
                if not 0 < member.size <= MAX_OBJECT:
                    raise InputError(f"'{name}' claims {member.size:,} bytes; an object has {MAX_OBJECT:,} at most")
                content = archive.extractfile(member)
                assert content is not None
                yield name, content.read()
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"'{source}' is no whole tar file ({error}); download it again") from error


def _open_tar(file: Any, source: Path) -> tarfile.TarFile:
    stream = UnpackedStream(file, source.stat().st_size, GROWTH)
    return tarfile.open(fileobj=stream, mode="r|", bufsize=BUFFER)


def _stem(path: Path) -> str:
    return next(path.name.removesuffix(suffix) for suffix in SUFFIXES if path.name.endswith(suffix))


def _list_of(task: Task) -> Path:
    return Path(task.out) / f"{task.name}.json"


def _is_done(task: Task) -> bool:
    """Whether its list is there, of the same source and settings, and every shard in it as long as it says."""
    if not _list_of(task).is_file():
        return False
    about = read_json(_list_of(task))
    wanted = {"format": FORMAT, "shard_size": task.shard_size, "stamp": _stamp(Path(task.source))}
    if not isinstance(about, dict) or any(about.get(key) != value for key, value in wanted.items()):
        return False
    if about.get("skipped") and not task.is_lenient:
        return False  # what was left out then is an error now
    try:
        files = [(Path(task.out) / shard["file"], shard["bytes"]) for shard in about["shards"]]
    except (KeyError, TypeError):  # a damaged list
        return False
    return all(file.is_file() and file.stat().st_size == size for file, size in files)


def _stamp(source: Path) -> str:
    """What tells a source from another one, and from itself after a change: names, sizes and times of its files."""
    files = [source] if source.is_file() else sorted(source.glob("*.npy"))
    status = [(path.name, path.stat()) for path in files]
    text = "".join(f"{name} {found.st_size} {found.st_mtime_ns}\n" for name, found in status)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _write_manifest(out: Path, tasks: Sequence[Task]) -> dict[str, Any]:
    lists = [read_json(_list_of(task)) for task in tasks]
    widths = {one["width"] for one in lists if one["width"] is not None}
    if len(widths) != 1:
        raise InputError(
            f"the sources have features of the widths {sorted(widths)}; convert each kind into its own folder"
        )
    counts: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for one in lists:
        counts.update(one["counts"])
        skipped.update(one["skipped"])
    width, nothing = widths.pop(), {"image": 0.0, "text": 0.0}
    sums = [{name: np.array(total) for name, total in {**nothing, **one["sums"]}.items()} for one in lists]
    numbers = {"image": counts["views"], "text": counts["texts"]}
    manifest = {
        "format": FORMAT,
        "width": width,
        "means": {
            name: (np.zeros(width) + sum(one[name] for one in sums) / max(number, 1)).tolist()
            for name, number in numbers.items()
        },
        "counts": dict(counts),
        "skipped": dict(skipped),
        "sources": [one["source"] for one in lists],
        "shards": [shard for one in lists for shard in one["shards"]],
    }
    write_json(manifest, out / MANIFEST)
    return manifest
