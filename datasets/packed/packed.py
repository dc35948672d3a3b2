"""The clouds of a split in one HDF5 file that is memory-mapped: a start takes no time and workers share the memory.

The system's page cache holds each cloud once, however many processes read it.
Shape legend: n objects, M points of an object as it comes, N points of an object as it is packed.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from pointrecon.datasets.checks import check_cloud, is_usable
from pointrecon.datasets.packed.hdf5_points import HDF5Points
from pointrecon.datasets.packed.places import KEY, Places, alone
from pointrecon.datasets.packed.stamps import Stamp, are_current, are_stamps, make_stamps
from pointrecon.extensions import ops
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, open_hdf5
from pointrecon.utils.log import progress_bar

FORMAT = "packed clouds 1"
BATCH = 32  # objects that are written together; a GPU samples their points together
_REMADE = "it is made again"
CPU_BATCH = 8  # sampled together on a CPU: more leave its cache and take twice the time

log = logging.getLogger("recon")


@dataclass
class Source:
    """What is to be packed.

    Attributes:
        kind: Which of a data set's sources this is, such as `txt`.
        ids: n keys.
        labels: n class indices.
        class_names: C names.
        load: Row -> (M, 3 or 6) points; InputError if they cannot be read.
        describe: Row -> the object with its file, for messages.
        num_points: N.
        needs_fps: M is N or more, and N of them are to be picked by farthest point sampling. Otherwise M is N.
        is_fps_ordered: The packed points are.
        files: What the packed file is made of; it is made again if one of them changes.
    """

    kind: str
    ids: list[str]
    labels: list[int]
    class_names: list[str]
    load: Callable[[int], np.ndarray]
    describe: Callable[[int], str]
    num_points: int
    needs_fps: bool
    is_fps_ordered: bool
    files: list[Path]


@dataclass
class Packed:
    """A packed file.

    Attributes:
        clouds: (n, N, 3) float32.
        labels: (n,) int64.
        ids: n keys.
        class_names: C names.
        is_fps_ordered: The first k points of a cloud are its k farthest points.
        num_skipped: Objects of the source that could not be read and are not in the file.
        kind: Of the source.
        stamps: What the source's files were like; see `stamps`.
    """

    clouds: HDF5Points
    labels: np.ndarray
    ids: list[str]
    class_names: list[str]
    is_fps_ordered: bool
    num_skipped: int
    kind: str
    stamps: list[Stamp]

    def read(self, row: int) -> np.ndarray:
        """Returns the (N, 3) points of an object.

        Raises:
            InputError: The file has been damaged since it was made.
        """
        points = self.clouds[row]
        if not is_usable(points[None])[0]:
            raise InputError(f"object '{self.ids[row]}' in '{self.clouds.path}' is damaged; remove the file: {_REMADE}")
        return points


def open_or_pack(
    folder: Path,
    name: str,
    kinds: Sequence[str],
    make_source: Callable[[], Source],
    on_error: str = "raise",
    *,
    cache_root: str | Path | None = None,
) -> Packed:
    """Opens the packed file of a split; makes it first if there is none or its source has changed.

    Of several processes that start at the same time one makes it, and the others wait for it.

    Args:
        folder: Where the source is.
        name: Of the packed file.
        kinds: Sources that will do.
        make_source: Reads the source; called only if it is needed.
        on_error: `raise`: an object that cannot be read is an error. `skip`: it is left out, and the file says so.
        cache_root: See `Places`.

    Raises:
        InputError: There is no usable source, an object of it cannot be read, there is no place to write to, or the
            disk is full.
    """
    places = Places(folder, name, cache_root)
    packed = _find(places, folder, kinds, on_error)
    if packed is not None:
        return packed
    source = make_source()
    path = places.choose(len(source.ids) * source.num_points * 12)
    with alone(path, f"the packed copy of {name}"):
        packed = _find(places, folder, kinds, on_error)  # another process may have made it meanwhile
        if packed is None:
            count = len(source.ids)
            log.info("packing %d objects into '%s'; this happens once (%s=FOLDER: elsewhere)", count, path, KEY)
            pack(path, source, folder, on_error)
            packed = open_packed(path)
    return packed


def _find(places: Places, folder: Path, kinds: Sequence[str], on_error: str) -> Packed | None:
    """The packed file that is there and will do."""
    for path in places.all:
        packed = _open_if_current(path, folder)
        if packed is not None and packed.kind in kinds and (on_error == "skip" or not packed.num_skipped):
            if packed.num_skipped:
                log.warning("'%s' lacks %d objects that could not be read", path, packed.num_skipped)
            return packed
    return None


def pack(path: Path, source: Source, folder: Path, on_error: str = "raise") -> None:
    """Writes a packed file, whole or not at all.

    Args:
        path: Where to.
        source: What.
        folder: From where the names of the source's files are given in the packed file.
        on_error: See `open_or_pack`.

    Raises:
        InputError: An object cannot be read, nothing can be read, or the file cannot be written.
    """
    stamps = make_stamps(source.files, folder)
    with atomic_write(path) as temporary:
        try:
            with h5py.File(temporary, "w") as file:
                rows = _write_clouds(file, source, path.stem, on_error)
                num_skipped = len(source.ids) - len(rows)
                file["labels"] = np.array([source.labels[row] for row in rows], dtype=np.int64)
                for name, texts in (("ids", [source.ids[row] for row in rows]), ("class_names", source.class_names)):
                    file.create_dataset(name, data=texts, dtype=h5py.string_dtype())
                file.attrs.update(
                    format=FORMAT,
                    kind=source.kind,
                    is_fps_ordered=source.is_fps_ordered,
                    num_skipped=num_skipped,
                    files=json.dumps(stamps),
                )
        except OSError as error:
            raise InputError(f"cannot write '{path}'; is the disk full? ({error})") from error


def open_packed(path: Path) -> Packed:
    """Opens a packed file; no point is read yet.

    Raises:
        InputError: The file is missing, damaged, or not of this format.
    """
    with open_hdf5(path, ("points", "labels", "ids", "class_names")) as file:
        points, labels = file.array("points", "f", 3), file.read("labels", "iu", 1)
        ids, class_names = file.read_texts("ids"), file.read_texts("class_names")
        stamps = json.loads(file.text_attribute("files") or "null")
        is_whole = len(labels) == len(ids) == len(points) > 0 and points.shape[1] > 0 and points.shape[2] == 3
        is_sound = is_whole and 0 <= labels.min() and labels.max() < len(class_names) and are_stamps(stamps)
        if file.text_attribute("format") != FORMAT or not is_sound or points.dtype != np.float32:
            raise InputError(f"'{path}' is not a file of '{FORMAT}'; remove it: {_REMADE}")
        return Packed(
            clouds=HDF5Points(path, "points"),
            labels=labels.astype(np.int64),
            ids=ids,
            class_names=class_names,
            is_fps_ordered=bool(file.attrs["is_fps_ordered"]),
            num_skipped=int(file.attrs["num_skipped"]),
            kind=file.text_attribute("kind"),
            stamps=stamps,
        )


def _write_clouds(file: h5py.File, source: Source, name: str, on_error: str) -> list[int]:
    """Writes `points` and returns the rows of the source that are in it."""
    total = len(source.ids)
    rows: list[int] = []
    points = file.create_dataset("points", (total, source.num_points, 3), "<f4")  # contiguous, so it can be mapped
    for start in progress_bar(range(0, total, BATCH), f"packing {name}, {BATCH} objects a step"):
        good = _load_batch(source, range(start, min(start + BATCH, total)), on_error)
        if good:
            points[len(rows) : len(rows) + len(good)] = _sample(list(good.values()), source)
            rows += good
    if not rows:
        raise InputError(f"none of the {total} objects of '{name}' can be read; the messages above say why")
    if len(rows) < total:
        exact = file.create_dataset("kept", (len(rows), source.num_points, 3), "<f4")
        for start in range(0, len(rows), BATCH):
            exact[start : start + BATCH] = points[start : min(start + BATCH, len(rows))]
        del file["points"]
        file.move("kept", "points")
    return rows


def _load_batch(source: Source, rows: range, on_error: str) -> dict[int, np.ndarray]:
    """Returns {row: (M, 3)} of the objects that can be read."""
    good = {}
    for row in rows:
        try:
            cloud = check_cloud(source.load(row), source.describe(row), source.num_points, source.needs_fps)
        except InputError as error:
            if on_error == "raise":
                raise
            log.warning("left out: %s", error)
            continue
        good[row] = cloud
    return good


def _sample(clouds: list[np.ndarray], source: Source) -> np.ndarray:
    """A list of (M, 3), M may differ -> (B, N, 3). Picking 8192 of 10,000: 3 ms, in plain torch 0.5 s."""
    if not source.needs_fps:
        return np.stack(clouds)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = np.empty((len(clouds), source.num_points, 3), dtype=np.float32)
    for size in {len(cloud) for cloud in clouds}:
        rows = [row for row, cloud in enumerate(clouds) if len(cloud) == size]
        points = torch.from_numpy(np.stack([clouds[row] for row in rows])).to(device)
        parts = points.split(BATCH if device.type == "cuda" else CPU_BATCH)
        result[rows] = torch.cat([ops.gather(part, ops.fps(part, source.num_points)) for part in parts]).cpu().numpy()
    return result


def _open_if_current(path: Path, folder: Path) -> Packed | None:
    """None: it is missing or damaged, or a file that it was made of has changed; one that is gone has not."""
    if not path.is_file():
        return None
    try:
        packed = open_packed(path)
        is_current = are_current(packed.stamps, folder)
    except (InputError, OSError) as error:  # OSError: names in it that no file can have
        if "is locked" in str(error):  # by a program that has it open: whole, as far as anybody knows
            raise
        log.warning("a packed file cannot be used and is made again: %s", error)
        return None
    return packed if is_current else None
