"""The files of ShapeNetPart as they are distributed, and the one file that they are packed into.

Shape legend: n objects, P points an object (another number each time), T points of all objects together.

The packed file is HDF5: `points` (T, 3) float32 and `part` (T,) uint8, object by object; `offsets` (n + 1,): object i
has rows offsets[i] to offsets[i + 1]; `ids` (n,) text; `skipped` text: objects that could not be read; attribute
`lists`: a digest of the lists that it was made from; attribute `files`: what the objects' files were like. It is made
again when the lists or a file change.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from pointrecon.datasets.checks import (
    check_cloud,
    check_plain_names,
    check_text_size,
    is_usable,
    read_list,
    refuse_overlap,
)
from pointrecon.datasets.packed.hdf5_points import HDF5Points
from pointrecon.datasets.packed.places import KEY, Places, alone
from pointrecon.datasets.packed.stamps import are_current, are_stamps, make_stamps
from pointrecon.utils.errors import InputError, nearest
from pointrecon.utils.files.hdf5 import CheckedFile
from pointrecon.utils.files.io import atomic_write, open_hdf5, read_json
from pointrecon.utils.log import progress_bar

FOLDER = "shapenetcore_partanno_segmentation_benchmark_v0_normal"
SOURCE = f"https://shapenet.cs.stanford.edu/media/{FOLDER}.zip"
TERMS = "ShapeNet terms of use (https://shapenet.org/terms): non-commercial research and education"
LISTS = {"train": 12137, "val": 1870, "test": 2874}  # published numbers of objects
NUM_OBJECTS = sum(LISTS.values())
NUM_COLUMNS = 7  # x y z, the normal's x y z, the part label
PACKED_NAME = "shapenetpart.h5"
FORMAT = "packed parts 1"
_BYTES_AN_OBJECT = 2700 * 13  # about: points and part labels

# category: its part labels. The order is the published one, and a category's index in it is its label.
CATEGORIES = {
    "Airplane": range(0, 4),
    "Bag": range(4, 6),
    "Cap": range(6, 8),
    "Car": range(8, 12),
    "Chair": range(12, 16),
    "Earphone": range(16, 19),
    "Guitar": range(19, 22),
    "Knife": range(22, 24),
    "Lamp": range(24, 28),
    "Laptop": range(28, 30),
    "Motorbike": range(30, 36),
    "Mug": range(36, 38),
    "Pistol": range(38, 41),
    "Rocket": range(41, 44),
    "Skateboard": range(44, 47),
    "Table": range(47, 50),
}
_NAMES = list(CATEGORIES)
NUM_PARTS = sum(map(len, CATEGORIES.values()))

log = logging.getLogger("recon")


class Files:
    """Which objects there are, by the distributed lists. Opens no object's file.

    Args:
        folder: The distributed folder.

    Attributes:
        keys: <synset>/<name> of the objects in each of `LISTS`.

    Raises:
        InputError: A missing or damaged list.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._category_of_synset = _read_categories(_need(folder / "synsetoffset2category.txt"))
        self.keys: dict[str, list[str]] = {}
        for name in LISTS:
            self.keys[name] = self._read_list(_need(_list_path(folder, name)))
        remedy = f"unpack {SOURCE} again"
        for name, others in (("val", ["train"]), ("test", ["train", "val"])):
            trained_on = [key for other in others for key in self.keys[other]]
            refuse_overlap(trained_on, self.keys[name], f"'{_list_path(folder, name)}'", remedy)

    @property
    def num_objects(self) -> int:
        """In all lists."""
        return sum(map(len, self.keys.values()))

    @property
    def folders(self) -> list[Path]:
        """The folders of the objects' files."""
        return [self.folder / synset for synset in self._category_of_synset]

    def category_of(self, key: str) -> int:
        """Returns the category's index, 0 .. 15."""
        return self._category_of_synset[key.partition("/")[0]]

    def path_of(self, key: str) -> Path:
        """Returns the object's text file."""
        return self.folder / f"{key}.txt"

    def present(self) -> set[str]:
        """Returns the keys of the object files that are there and not empty."""
        keys = set()
        for synset in self._category_of_synset:
            if (self.folder / synset).is_dir():
                with os.scandir(self.folder / synset) as entries:
                    keys |= {f"{synset}/{x.name[:-4]}" for x in entries if x.name.endswith(".txt") and x.stat().st_size}
        return keys

    def digest(self) -> str:
        """Returns a text that changes with the lists."""
        return hashlib.sha256(json.dumps([self.keys, self._category_of_synset]).encode()).hexdigest()

    def _read_list(self, path: Path) -> list[str]:
        entries = read_json(path)
        if not isinstance(entries, list) or not entries:
            raise InputError(f"'{path}' must hold a JSON list of 'shape_data/<synset>/<id>'; unpack {SOURCE} again")
        keys = []
        for entry in entries:
            parts = entry.strip().split("/") if isinstance(entry, str) else []
            if len(parts) != 3 or parts[1] not in self._category_of_synset or not parts[2]:
                raise InputError(
                    f"'{path}' lists {entry!r}, but an entry is 'shape_data/<synset>/<id>' with a synset of "
                    f"synsetoffset2category.txt; unpack {SOURCE} again"
                )
            check_plain_names([parts[2]], path)
            key = f"{parts[1]}/{parts[2]}"
            keys.append(key)
        if len(set(keys)) < len(keys):
            twice = next(key for row, key in enumerate(keys) if key in keys[:row])
            raise InputError(f"'{path}' lists '{twice}' twice; unpack {SOURCE} again")
        return keys


class PackedObjects:
    """The objects of all lists from the packed file, which is made first if it is not there.

    Args:
        files: The distributed files.
        on_error: An object that cannot be read while packing: `raise`, or `skip` to leave it out.
        cache_root: Folder for the packed file; see `Places`.

    Attributes:
        path: The packed file.
        row_of: The place of each key.

    Raises:
        InputError: An object cannot be read, or the packed file cannot be written.
    """

    def __init__(self, files: Files, on_error: str, cache_root: str | None = None) -> None:
        places = Places(files.folder, PACKED_NAME, cache_root)
        found = _find(places, files, on_error)
        if found is None:
            path = places.choose(files.num_objects * _BYTES_AN_OBJECT)
            with alone(path, "the packed copy of ShapeNetPart"):
                found = _find(places, files, on_error) or _pack(files, on_error, path)
        self.path = found
        with open_hdf5(self.path) as file:
            self.row_of = {key: row for row, key in enumerate(file.read_texts("ids"))}
            self._offsets = file.read("offsets").astype(np.int64)
        self._points, self._part = HDF5Points(self.path, "points"), HDF5Points(self.path, "part")

    def read(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the points (P, 3) float32 and their part labels (P,) int64.

        Raises:
            InputError: The packed file has been damaged since it was made.
        """
        row = self.row_of[key]
        rows = slice(self._offsets[row], self._offsets[row + 1])
        points, part = self._points[rows], self._part[rows].astype(np.int64)
        if not is_usable(points[None])[0] or part.max() >= NUM_PARTS:
            raise InputError(f"object '{key}' in '{self.path}' is damaged; remove the file: it is made again")
        return points, part


def read_object(path: Path, category: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads an object's text file.

    Args:
        path: Lines of seven numbers: x y z, normal, part label.
        category: Its index, 0 .. 15.

    Returns:
        Points (P, 3) float32 and part labels (P,) uint8.

    Raises:
        InputError: The file is missing, truncated or no such text, or has NaN or a part of another category.
    """
    if not path.is_file() or not path.stat().st_size:
        raise _broken(path, "is empty" if path.is_file() else "is missing")
    try:
        check_text_size(path)
        values = np.loadtxt(path, dtype=np.float64, ndmin=2, encoding="utf-8-sig")
    except InputError:
        raise
    except (ValueError, OSError) as error:
        raise _broken(path, f"cannot be read: {error}") from error
    if values.shape[1] != NUM_COLUMNS:
        raise _broken(path, f"has {values.shape[1]} numbers a line, but must have {NUM_COLUMNS}")
    points = check_cloud(values[:, :3], f"'{path}'", num_points=1, may_have_more=True)
    name, parts = _NAMES[category], CATEGORIES[_NAMES[category]]
    is_wrong = ~np.isin(values[:, -1], parts)
    if is_wrong.any():
        line = int(is_wrong.argmax())
        label = f"part label {values[line, -1]:g} in line {line + 1}"
        raise _broken(path, f"has {label}, but the parts of {name} are {parts[0]} to {parts[-1]}")
    return points, values[:, -1].astype(np.uint8)


def _list_path(folder: Path, name: str) -> Path:
    return folder / "train_test_split" / f"shuffled_{name}_file_list.json"


def _broken(path: Path, problem: str) -> InputError:
    return InputError(f"'{path}' {problem}; unpack {SOURCE} again, or leave it out with data.on_error=skip")


def _need(path: Path) -> Path:
    if not path.is_file():
        raise InputError(
            f"there is no '{path}'; ShapeNetPart is distributed as {SOURCE} under the {TERMS}; unpack it there, or "
            f"set data_root to the folder that has {FOLDER}/ in it"
        )
    return path


def _read_categories(path: Path) -> dict[str, int]:
    """Returns {synset: index of its category}."""
    category_of_synset = {}
    for line in read_list(path, f"unpack {SOURCE} again"):
        fields = line.split()
        if len(fields) != 2:
            raise InputError(f"'{path}' has the line '{line}', but each has a category and its synset")
        if fields[0] not in CATEGORIES:
            raise InputError(f"'{path}' has the category '{fields[0]}'; {nearest(fields[0], CATEGORIES)}")
        check_plain_names([fields[1]], path)
        category_of_synset[fields[1]] = _NAMES.index(fields[0])
    return category_of_synset


def _find(places: Places, files: Files, on_error: str) -> Path | None:
    """The packed file that is there and will do."""
    return next((path for path in places.all if _is_current(path, files, on_error)), None)


def _is_current(path: Path, files: Files, on_error: str) -> bool:
    """Says whether the packed file holds what the lists name, as far as it can be read."""
    if not path.is_file():
        return False
    try:
        with open_hdf5(path, ("ids", "offsets", "skipped", "points", "part")) as file:
            is_ours = file.text_attribute("format") == FORMAT and file.text_attribute("lists") == files.digest()
            skipped = file.read_texts("skipped") if is_ours and len(file.array("skipped", "OS")) else []
            listed = {key for keys in files.keys.values() for key in keys}
            stamps = json.loads(file.text_attribute("files") or "[]")
            is_ours = is_ours and are_stamps(stamps) and are_current(stamps, files.folder)
            is_ours = is_ours and _is_consistent(file) and set(skipped) <= listed
    except (InputError, OSError) as error:
        if "is locked" in str(error):
            raise
        return False  # a damaged copy is made again
    # What was left out is tried again: it may have been repaired.
    return is_ours and all(_is_broken(files, key, on_error) for key in skipped)


def _is_consistent(file: CheckedFile) -> bool:
    """Whether each object of a packed file has points, and each point its part."""
    offsets, points, part = file.read("offsets", "iu", 1), file.array("points", "f", 2), file.array("part", "u", 1)
    is_whole = len(offsets) == len(file.array("ids", "OS", 1)) + 1 and offsets[0] == 0 and offsets[-1] == len(points)
    is_right = points.shape[1] == 3 and points.dtype == np.float32 and len(part) == len(points)
    return bool(is_whole and is_right and (np.diff(offsets.astype(np.int64)) > 0).all())


def _is_broken(files: Files, key: str, on_error: str) -> bool:
    try:
        read_object(files.path_of(key), files.category_of(key))
    except InputError:
        if on_error == "raise":
            raise
        return True
    return False


def _pack(files: Files, on_error: str, path: Path) -> Path:
    """Writes the packed file and returns its path; nothing is left if an object cannot be read."""
    keys = [key for name in LISTS for key in files.keys[name]]
    log.info("packing %d objects into '%s'; this happens once (%s=FOLDER: elsewhere)", len(keys), path, KEY)
    stamps = make_stamps(files.folders, files.folder)
    with atomic_write(path) as temporary:  # from the start: a folder that cannot be written is found out at once
        objects, skipped = _read_objects(files, keys, on_error)
        try:
            with h5py.File(temporary, "w") as file:
                file.attrs.update(format=FORMAT, lists=files.digest(), files=json.dumps(stamps))
                file["offsets"] = np.cumsum([0, *(len(points) for points, _ in objects.values())])
                for name, texts in (("ids", list(objects)), ("skipped", skipped)):
                    file.create_dataset(name, data=texts, dtype=h5py.string_dtype())
                for name, arrays in zip(("points", "part"), zip(*objects.values(), strict=True), strict=True):
                    _write_rows(file, name, arrays)
        except OSError as error:
            raise InputError(f"cannot write '{path}'; is the disk full? ({error})") from error
    return path


def _read_objects(
    files: Files, keys: Sequence[str], on_error: str
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Returns what `read_object` says of each key, and the keys that were left out."""
    objects, skipped = {}, []
    for key in progress_bar(keys, "packing ShapeNetPart"):
        try:
            objects[key] = read_object(files.path_of(key), files.category_of(key))
        except InputError as error:
            if on_error == "raise":
                raise
            log.warning("left out: %s", error)
            skipped.append(key)
    if not objects:
        raise InputError(f"no object of '{files.folder}' can be read; unpack {SOURCE} again")
    return objects, skipped


def _write_rows(file: h5py.File, name: str, arrays: Sequence[np.ndarray]) -> None:
    """Writes arrays one after another into one piece of the file, which can be memory-mapped."""
    values = file.create_dataset(name, (sum(map(len, arrays)), *arrays[0].shape[1:]), dtype=arrays[0].dtype)
    start = 0
    for array in arrays:
        values[start : start + len(array)] = array
        start += len(array)
