"""The files of ModelNet40 and ModelNet10 in the three forms in which they are distributed.

`dat`: one pickle a split, 8192 points an object in FPS order. `txt`: one text file an object, 10,000 lines of
x, y, z and the normal. `hdf5`: 2048 points an object in no special order.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.datasets.checks import check_plain_names, check_text_size, read_list, refuse_overlap
from pointrecon.datasets.modelnet.class_names import MODELNET10
from pointrecon.datasets.packed.packed import Packed, Source, open_or_pack
from pointrecon.datasets.packed.places import Places
from pointrecon.utils.errors import InputError, nearest
from pointrecon.utils.files.io import open_hdf5
from pointrecon.utils.files.safe_pickle import load_pickle

KINDS = ("dat", "txt", "hdf5")
PARTS = ("train", "test")
FOLDER = "ModelNet/modelnet40_normal_resampled"
HDF5_FOLDER = "modelnet40_ply_hdf5_2048"
_LABEL_TYPES = (int, float, np.number, np.ndarray)
URL = "https://shapenet.cs.stanford.edu/media/modelnet40_normal_resampled.zip"


@dataclass(frozen=True)
class ModelNetFiles:
    """Where the files of ModelNet40 or ModelNet10 are, and how each form is read.

    Attributes:
        root: The data root.
        num_classes: 40 or 10.
        num_points: Points an object of `dat` (part of the file's name) and `txt` (picked from more).
        cache_root: Folder for packed copies; see `datasets.packed.places`.
    """

    root: Path
    num_classes: int
    num_points: int = 8192
    cache_root: str | None = None

    @property
    def name(self) -> str:
        """As it is part of the names of files."""
        return f"modelnet{self.num_classes}"

    @property
    def folder(self) -> Path:
        """Of the lists and the forms `dat` and `txt`."""
        return self.root / FOLDER

    @property
    def hdf5_folder(self) -> Path:
        """Of the form `hdf5`: under the root or under ModelNet/ in it."""
        nested = self.root / "ModelNet" / HDF5_FOLDER
        return nested if nested.is_dir() else self.root / HDF5_FOLDER

    def dat_path(self, part: str) -> Path:
        """The pickle of the part `train` or `test`."""
        return self.folder / f"{self.name}_{part}_{self.num_points}pts_fps.dat"

    def list_path(self, part: str) -> Path:
        """The list of the objects of the part `train` or `test`."""
        return self.folder / f"{self.name}_{part}.txt"

    def packed_name(self, part: str, kind: str) -> str:
        """Name of the file that the part is packed into."""
        return f"{self.name}_{part}_{2048 if kind == 'hdf5' else self.num_points}.h5"

    def has(self, kind: str, part: str) -> bool:
        """Whether the part is there in a form, as far as a look at the folder tells."""
        if kind == "dat":
            return self.dat_path(part).is_file()
        if kind == "hdf5":
            return (self.hdf5_folder / f"{part}_files.txt").is_file()
        if not self.folder.is_dir():
            return False
        with os.scandir(self.folder) as entries:
            return any(entry.is_dir() and entry.name != "packed" for entry in entries)

    def open_part(self, part: str, source: str = "auto", on_error: str = "raise") -> Packed:
        """Opens the packed file of a part, which is made first if needed.

        Args:
            part: `train` or `test`.
            source: One of `KINDS`, or `auto`: the first one that is there.
            on_error: `raise`, or `skip`: an object that cannot be read is left out of the packed file.

        Raises:
            InputError: The part is not there, or something in it cannot be read.
        """
        readers: dict[str, Callable[[str], Source]] = {"dat": self.read_dat, "txt": self.read_txt}

        def make_source() -> Source:
            for kind in readers if source == "auto" else (source,):
                if self.has(kind, part):
                    return readers[kind](part)
            raise self.not_found(part, source)

        if source == "hdf5" or (source == "auto" and self._has_only_hdf5(part)):
            name, readers = self.packed_name(part, "hdf5"), {"hdf5": self.read_hdf5}
            packed = open_or_pack(self.hdf5_folder, name, ("hdf5",), make_source, on_error, cache_root=self.cache_root)
        else:
            kinds = ("dat", "txt") if source == "auto" else (source,)
            name = self.packed_name(part, "dat")
            packed = open_or_pack(self.folder, name, kinds, make_source, on_error, cache_root=self.cache_root)
        self._refuse_shared(part, packed)
        if len(packed.class_names) != self.num_classes:
            raise InputError(
                f"'{packed.clouds.path}' has {len(packed.class_names)} classes instead of {self.num_classes}; remove "
                "it, and it is made again"
            )
        return packed

    def _refuse_shared(self, part: str, packed: Packed) -> None:
        """Compares the objects of a part with the list of the other one, if that is there."""
        other = "test" if part == "train" else "train"
        if packed.kind == "hdf5":
            path = self.hdf5_folder / f"{other}_files.txt"
            ours = {name.rpartition("-")[0] for name in packed.ids}
            names = [item.stem for item in self.hdf5_files(other)] if path.is_file() else []
            ids = [name for name in packed.ids if name.rpartition("-")[0] in ours & set(names)]
        else:
            path, ids = self.list_path(other), []
            if path.is_file():
                ids = read_list(path, f"it lists the objects of the {other} split and is in {URL}")
        train, test = (packed.ids, ids) if part == "train" else (ids, packed.ids)
        refuse_overlap(train, test, f"ModelNet{self.num_classes}", f"restore '{path}' and the other list from {URL}")

    def read_names(self) -> list[str]:
        """Returns the class names of the forms `dat` and `txt`, in the order of the labels."""
        path = self.folder / f"{self.name}_shape_names.txt"
        names = read_list(path, f"it lists the {self.num_classes} classes and is in {URL}")
        _check_classes(names, self.num_classes, path)
        return names

    def read_ids(self, part: str, class_names: list[str]) -> tuple[list[str], list[int]]:
        """Returns the keys of a part's objects, such as night_stand_0002, and their labels."""
        path = self.list_path(part)
        ids = read_list(path, f"it lists the objects of the {part} split and is in {URL}")
        labels = []
        for name in ids:
            class_name = name.rpartition("_")[0]
            if class_name not in class_names:
                raise InputError(
                    f"'{path}' lists '{name}', but there is no class '{class_name}' in "
                    f"'{self.name}_shape_names.txt'; {nearest(class_name, class_names)}"
                )
            labels.append(class_names.index(class_name))
        check_plain_names(ids, path)
        _refuse_twice(ids, path)
        return ids, labels

    def read_dat(self, part: str) -> Source:
        """Reads the pickle of a part, all of it at once (2 GB for the 40 classes with normals)."""
        class_names = self.read_names()
        ids, listed = self.read_ids(part, class_names)
        path = self.dat_path(part)
        content = load_pickle(path)
        is_pair = isinstance(content, (list, tuple)) and len(content) == 2
        if not is_pair or any(not _is_sequence(item) or len(item) != len(ids) for item in content):
            raise InputError(
                f"'{path}' must hold a list of clouds and a list of labels for the {len(ids)} objects of "
                f"'{self.list_path(part).name}', but does not; get both files from the same place"
            )
        clouds, labels = content
        labels = [read_label(label, self.num_classes, f"'{path}'") for label in labels]
        wrong = [row for row, label in enumerate(labels) if label != listed[row]]
        if wrong:
            row = wrong[0]
            raise InputError(
                f"'{path}' says that object {row} is a '{class_names[labels[row]]}', but '{self.list_path(part).name}' "
                f"has '{ids[row]}' there; get both files from the same place"
            )
        return Source(
            kind="dat",
            ids=ids,
            labels=labels,
            class_names=class_names,
            load=lambda row: clouds[row],
            describe=lambda row: f"object '{ids[row]}' in '{path}'",
            num_points=self.num_points,
            needs_fps=False,
            is_fps_ordered=True,
            files=[path, self.list_path(part), self.folder / f"{self.name}_shape_names.txt"],
        )

    def read_txt(self, part: str) -> Source:
        """Describes the text files of a part; they are read when they are packed."""
        class_names = self.read_names()
        ids, labels = self.read_ids(part, class_names)
        paths = [self.folder / class_names[label] / f"{name}.txt" for name, label in zip(ids, labels, strict=True)]
        folders = [self.folder / class_names[label] for label in sorted(set(labels))]
        return Source(
            kind="txt",
            ids=ids,
            labels=labels,
            class_names=class_names,
            load=lambda row: read_text_cloud(paths[row]),
            describe=lambda row: f"'{paths[row]}'",
            num_points=self.num_points,
            needs_fps=True,
            is_fps_ordered=True,
            files=[self.list_path(part), self.folder / f"{self.name}_shape_names.txt", *folders],
        )

    def read_hdf5(self, part: str) -> Source:
        """Reads the HDF5 files of a part; ModelNet10 is the objects of its ten classes."""
        folder = self.hdf5_folder
        all_names, class_names = self.read_hdf5_names()
        files = self.hdf5_files(part)
        ids: list[str] = []
        labels: list[int] = []
        clouds: list[np.ndarray] = []
        for file in files:
            points, numbers = _read_hdf5(file, len(all_names), clouds[0].shape[0] if clouds else None)
            for row, number in enumerate(numbers):
                if all_names[number] in class_names:
                    ids.append(f"{file.stem}-{row:04d}")
                    labels.append(class_names.index(all_names[number]))
                    clouds.append(points[row])
        if not clouds:
            raise InputError(f"'{folder}' has no object of the {self.num_classes} classes for {part}; restore it")
        return Source(
            kind="hdf5",
            ids=ids,
            labels=labels,
            class_names=class_names,
            load=lambda row: clouds[row],
            describe=lambda row: f"object '{ids[row]}' in '{folder}'",
            num_points=len(clouds[0]),
            needs_fps=False,
            is_fps_ordered=False,
            files=[folder / "shape_names.txt", folder / f"{part}_files.txt", *files],
        )

    def read_hdf5_names(self) -> tuple[list[str], list[str]]:
        """Returns the 40 classes of the form `hdf5` in the order of its labels, and those that are wanted."""
        path = self.hdf5_folder / "shape_names.txt"
        all_names = read_list(path, f"it lists the 40 classes and is distributed in {HDF5_FOLDER}.zip")
        _check_classes(all_names, 40, path)
        class_names = all_names if self.num_classes == 40 else list(MODELNET10)
        for name in class_names:
            if name not in all_names:
                raise InputError(f"'{path}' lacks the class '{name}'; {nearest(name, all_names)}")
        return all_names, class_names

    def hdf5_files(self, part: str) -> list[Path]:
        """Returns the HDF5 files of a part; their list gives paths of another machine, so only the names count."""
        path = self.hdf5_folder / f"{part}_files.txt"
        lines = read_list(path, f"it lists the HDF5 files of the {part} split")
        names = [line.replace("\\", "/").rpartition("/")[2] for line in lines]
        check_plain_names(names, path)
        return [self.hdf5_folder / name for name in names]

    def not_found(self, part: str, source: str = "auto") -> InputError:
        """Makes the error for a part that is not there."""
        forms = {
            "dat": f"'{self.dat_path(part)}'",
            "txt": f"'{self.folder}/<class>/<object>.txt'",
            "hdf5": f"'{self.hdf5_folder}/{part}_files.txt' with its .h5 files",
        }
        wanted = forms.values() if source == "auto" else [forms[source]]
        return InputError(
            f"there is no ModelNet{self.num_classes} ({part}): looked for {' or '.join(wanted)}; download {URL}, or "
            "set data_root to the folder that has ModelNet/ in it"
        )

    def _has_only_hdf5(self, part: str) -> bool:
        others = self.has("dat", part) or self.has("txt", part)
        packed = Places(self.folder, self.packed_name(part, "dat"), self.cache_root).all
        return not others and not any(path.is_file() for path in packed) and self.hdf5_folder.is_dir()


def read_label(value: Any, num_classes: int, what: str) -> int:
    """Returns a label that is stored as a number or as an array of one.

    Raises:
        InputError: It is none, or out of range.
    """
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    array = np.asarray(value if isinstance(value, _LABEL_TYPES) else "").reshape(-1)
    is_number = array.size == 1 and array.dtype.kind in "iuf"
    if not is_number or not 0 <= array[0] < num_classes or array[0] % 1:
        given = array[0] if is_number else f"of type {type(value).__name__}"
        raise InputError(f"{what} has the label {given}, but labels are whole numbers from 0 to {num_classes - 1}")
    return int(array[0])


def read_text_cloud(path: Path) -> np.ndarray:
    """Reads a text file of comma-separated numbers, a point a line: (M, columns) float64.

    Raises:
        InputError: It is missing or is something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an empty file: refused by its shape
            check_text_size(path)
            return np.loadtxt(path, dtype=np.float64, delimiter=",", ndmin=2, encoding="utf-8-sig")
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read; copy or download it again ({error})") from error


def _read_hdf5(path: Path, num_classes: int, num_points: int | None) -> tuple[np.ndarray, np.ndarray]:
    with open_hdf5(path, ("data", "label")) as file:
        points, labels = file.read("data", "f"), file.read("label").reshape(-1)
    is_good = points.ndim == 3 and points.shape[2] == 3 and len(points) == len(labels) and points.shape[1]
    if not is_good or points.shape[1] != (num_points or points.shape[1]):
        raise InputError(
            f"'{path}' holds points of shape {points.shape} and {len(labels)} labels, but must hold "
            f"(n, {num_points or 2048}, 3) and n; copy or download it again"
        )
    return points, np.array([read_label(label, num_classes, f"'{path}'") for label in labels], dtype=np.int64)


def _check_classes(names: list[str], count: int, path: Path) -> None:
    """A name that is there twice would shift the labels behind it."""
    twice = next((name for row, name in enumerate(names) if name in names[:row]), None)
    if twice is not None:
        raise InputError(f"'{path}' lists '{twice}' twice; restore it from {URL}")
    if len(names) != count:
        raise InputError(f"'{path}' lists {len(names)} classes, but must list {count}; restore it from {URL}")
    check_plain_names(names, path)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _refuse_twice(ids: list[str], path: Path) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise InputError(f"'{path}' lists '{name}' twice; restore it from {URL}")
        seen.add(name)
