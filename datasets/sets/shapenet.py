"""ShapeNet-55: the published pretraining data, 52,470 shapes of 55 categories with a rendered picture each.

Shape legend: n objects, N points an object (8192 as published).
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointrecon.datasets import DATASETS
from pointrecon.datasets.checks import check_cloud, check_plain_names, read_list, refuse_overlap
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.sample import Sample
from pointrecon.datasets.survey import MISSING, WRONG, Entry, Survey, count_files, faults_of, look_at
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.files.io import read_json
from pointrecon.utils.files.npy import read_npy
from pointrecon.utils.files.pictures import PictureError, decode_picture

FOLDER = "ShapeNet55-34"
NUM_OBJECTS = 52470  # 41,952 for training and 10,518 for testing
NUM_CATEGORIES = 55
_SOURCE = "https://github.com/Julie-tang00/Point-BERT (shapes and lists)"
_PICTURE_SOURCE = "https://github.com/qizekun/ReCon (pictures and shapenet55.json)"
_TERMS = "ShapeNet terms of use (https://shapenet.org/terms): non-commercial research and education"
_MIN_BYTES_CLOUD = 8192 * 3 * 4  # float32; the header is more
_NUM_LOOKED_AT = 200  # files of which --check-data sees the size: looking at all takes minutes on network disks

log = logging.getLogger("recon")


@DATASETS.register()
class ShapeNet55(PointCloudDataset):
    """Shapes with their category, its name as text, and a picture.

    Points are as they are stored: 8192, neither centred nor scaled. A start reads the lists only; each object is read
    when it is asked for. The files hold no name of an object but that of its category.

    Args:
        root: The data root; the files are in <root>/ShapeNet55-34.
        splits: Which of the two lists to read.
        images: Also give the picture.
        on_error: An object that cannot be read: `raise`, or `skip`: the next one that can be read takes its place.
        bgr: Give the picture's channels in the order blue, green, red.
        num_stored: N.

    Attributes:
        num_skipped: Objects that this process could not read so far, and those that were left out.

    Raises:
        InputError: A missing or damaged list, or an argument that is out of range; when items are read, a missing or
            damaged object.
    """

    is_uniform = True

    def __init__(
        self,
        root: str,
        *,
        splits: Sequence[str] = ("train", "test"),
        images: bool = False,
        on_error: str = "raise",
        bgr: bool = False,
        num_stored: int = 8192,
    ) -> None:
        check_choice("data.on_error", on_error, ("raise", "skip"))
        self.folder = Path(root) / FOLDER
        self.features_path = self.folder / "teachers.h5"
        self.images, self.bgr = images, bgr
        self.on_error, self.num_stored = on_error, num_stored
        categories = read_categories(self.folder / "shapenet55.json")
        lists = {split: read_ids(self.folder, split) for split in splits}
        _refuse_shared(self.folder, lists)
        ids = [name for names in lists.values() for name in names]
        labels = _labels(ids, list(categories), self.folder)
        class_names = list(categories.values())
        super().__init__(
            ids=ids,
            # parity: the published text of a shape is its category.
            names=[class_names[label] for label in labels],
            labels=labels,
            split_of=[split for split, names in lists.items() for _ in names],
            class_names=class_names,
        )
        self._unreadable: set[int] = set()

    def __getitem__(self, index: int) -> Sample:
        if self.on_error == "raise":
            return super().__getitem__(index)
        for step in range(len(self)):
            row = int(self._rows[(index + step) % len(self)])
            if row in self._unreadable:
                continue
            try:
                return self.read(row)
            except InputError as error:
                self._unreadable.add(row)
                self.num_skipped += 1
                log.warning("skipped object '%s': %s", self._all.ids[row], error)
        raise InputError(f"none of the {len(self)} objects in '{self.folder}' can be read; download the data set again")

    def read(self, row: int) -> Sample:
        name = self._all.ids[row]
        sample = self.sample(row, read_cloud(self.folder / "shapenet_pc" / f"{name}.npy", self.num_stored))
        if self.images:
            sample["image"] = read_picture(self.folder / "shapenet_img" / f"{name}.png", self.bgr)
        return sample

    @staticmethod
    def survey(root: str) -> list[Survey]:
        """What is there under a data root: the shapes, and their pictures, which only teachers need."""
        folder = Path(root) / FOLDER
        return [
            _survey("ShapeNet-55", folder, "shapenet_pc", "npy", _MIN_BYTES_CLOUD, _SOURCE),
            _survey("ShapeNet-55 pictures", folder, "shapenet_img", "png", 100, _PICTURE_SOURCE),
        ]


def _refuse_shared(folder: Path, lists: Mapping[str, list[str]]) -> None:
    """Compares the two lists, if both are there."""
    both = dict(lists)
    for split in ("train", "test"):
        if split not in both and (folder / "ShapeNet-55" / f"{split}.txt").is_file():
            both[split] = read_ids(folder, split)
    if len(both) == 2:
        remedy = f"restore '{folder / 'ShapeNet-55'}/train.txt' and test.txt from {_SOURCE}"
        refuse_overlap(both["train"], both["test"], "ShapeNet-55", remedy)


def read_categories(path: Path) -> dict[str, str]:
    """Reads shapenet55.json: {WordNet number of 8 digits: name}, sorted by number.

    Args:
        path: A list, or a dict with such values, of {"catalogue": number without leading zeros, "describe": name}; or
            a table of these two columns in any form that pandas writes.

    Raises:
        InputError: The file is missing or is something else.
    """
    if not path.is_file():
        raise InputError(
            f"there is no '{path}', which names the {NUM_CATEGORIES} categories; get it from {_PICTURE_SOURCE}, or set "
            f"data_root to the folder that has {FOLDER}/ in it"
        )
    entries = _entries(read_json(path))
    if not isinstance(entries, list) or not entries:
        raise InputError(
            f"'{path}' must hold a list of categories, but is something else; get it from {_PICTURE_SOURCE}"
        )
    categories: dict[str, str] = {}
    for entry in entries:
        number, name = _category(entry, path)
        if categories.setdefault(number, name) != name:
            raise InputError(f"'{path}' gives category {number} two names, '{categories[number]}' and '{name}'")
    return dict(sorted(categories.items()))


def read_ids(folder: Path, part: str) -> list[str]:
    """Reads the keys of the objects of the part `train` or `test`.

    Raises:
        InputError: The list is missing, or has a line that is no <WordNet number>-<id>.npy or is there twice.
    """
    path = folder / "ShapeNet-55" / f"{part}.txt"
    lines = read_list(path, f"it lists the {part} objects of ShapeNet-55 and comes from {_SOURCE}")
    ids = [line.removesuffix(".npy") for line in lines]
    for line, name in zip(lines, ids, strict=True):
        if line == name or "-" not in name or "/" in name or "\\" in name:
            raise InputError(
                f"'{path}' has the line '{line}', but lines must be like 02691156-1a04e3ea.npy; restore it"
            )
    check_plain_names(ids, path)
    if len(set(ids)) < len(ids):
        twice = next(name for row, name in enumerate(sorted(ids)[1:]) if name == sorted(ids)[row])
        raise InputError(f"'{path}' lists '{twice}' twice; restore it from {_SOURCE}")
    return ids


def read_cloud(path: Path, num_points: int) -> Tensor:
    """Reads a .npy file: (N, 3) float32.

    Raises:
        InputError: It is missing, truncated, of another shape, or has a coordinate that is no number.
    """
    return torch.from_numpy(check_cloud(read_npy(path), f"'{path}'", num_points))


def read_picture(path: Path, is_bgr: bool = False) -> Tensor:
    """Reads a picture: (3, H, W) float32 in 0..1.

    Args:
        path: The file.
        is_bgr: Channels in the order blue, green, red.

    Raises:
        InputError: It is missing or will not decode.
    """
    try:
        pixels = decode_picture(path)
    except PictureError as error:
        raise InputError(f"the picture '{path}' cannot be read; copy or download it again ({error})") from error
    # parity: the published code feeds its image teacher with the channels as OpenCV reads them.
    image = torch.from_numpy(pixels[..., ::-1].copy() if is_bgr else pixels)
    return image.permute(2, 0, 1).float() / 255


def _entries(content: Any) -> Any:
    """The list of entries, in whichever form they come: a list, a dict of entries, or a table as pandas writes it."""
    if not isinstance(content, dict):
        return content
    if isinstance(content.get("data"), list):
        columns = content.get("columns")
        if not isinstance(columns, list):  # a table with a schema: its rows say what is in them
            return content["data"]
        return [dict(zip(columns, row, strict=False)) if isinstance(row, list) else row for row in content["data"]]
    if {"catalogue", "describe"} <= content.keys():
        numbers, names = (_column(content[key]) for key in ("catalogue", "describe"))
        if numbers.keys() == names.keys():
            return [{"catalogue": numbers[key], "describe": names[key]} for key in numbers]
    return list(content.values())


def _column(values: Any) -> dict[Any, Any]:
    """A column of a table by row: {"0": ..., "1": ...}, or a list."""
    if isinstance(values, dict):
        return values
    return dict(enumerate(values)) if isinstance(values, list) else {}


def _category(entry: Any, path: Path) -> tuple[str, str]:
    if not isinstance(entry, dict) or not {"catalogue", "describe"} <= entry.keys():
        raise InputError(f"'{path}' has the entry {entry!r:.80}, but entries must have 'catalogue' and 'describe'")
    number, name = str(entry["catalogue"]).strip(), entry["describe"]
    if not number.isdecimal() or len(number) > 8 or not isinstance(name, str) or not name.strip():
        raise InputError(
            f"'{path}' has the entry {entry!r:.80}, but 'catalogue' must be a number and 'describe' a name"
        )
    return number.zfill(8), name.strip()


def _labels(ids: list[str], numbers: list[str], folder: Path) -> np.ndarray:
    label_of = {number: label for label, number in enumerate(numbers)}
    labels = np.array([label_of.get(name.partition("-")[0], -1) for name in ids], dtype=np.int64)
    if (labels < 0).any():
        name = ids[int((labels < 0).argmax())]
        raise InputError(
            f"a list in '{folder / 'ShapeNet-55'}' has '{name}', but there is no category {name.partition('-')[0]} in "
            f"'{folder / 'shapenet55.json'}'; get both files from where they are distributed"
        )
    return labels


def _survey(name: str, folder: Path, subfolder: str, suffix: str, min_bytes: int, source: str) -> Survey:
    found, problem = 0, None
    tree = [look_at(folder, item) for item in ("shapenet55.json", "ShapeNet-55/train.txt", "ShapeNet-55/test.txt")]
    ids: list[str] = []
    try:
        ids = _all_ids(folder)
        faults = _find_faults(folder / subfolder, ids, suffix, min_bytes)
        tree.append(count_files(f"{subfolder}/<id>.{suffix}", len(ids), faults))
        found, problem = len(ids) - len(faults), _problem_of(folder / subfolder, faults, len(ids))
    except (InputError, OSError) as error:
        problem = str(error)
        there = f"a folder, but without the lists its {NUM_OBJECTS:,} files cannot be told"
        state = (WRONG, there) if (folder / subfolder).is_dir() else (MISSING, f"{NUM_OBJECTS:,} files")
        tree.append(Entry(f"{subfolder}/<id>.{suffix}", *state))
    if suffix == "npy":
        tree.append(look_at(folder, "teachers.h5", note="features of teachers, made by training", is_needed=False))
    return Survey(name, folder, found, NUM_OBJECTS, problem, source, _TERMS, tree)


def _all_ids(folder: Path) -> list[str]:
    read_categories(folder / "shapenet55.json")
    return read_ids(folder, "train") + read_ids(folder, "test")


def _find_faults(folder: Path, ids: list[str], suffix: str, min_bytes: int) -> list[str]:
    """What is missing, and of those files whose size is looked at, what is too short."""
    there = set()
    if folder.is_dir():
        with os.scandir(folder) as entries:
            there = {entry.name for entry in entries}
    names = [f"{key}.{suffix}" for key in ids]
    present = [name for name in names if name in there]
    looked_at = set(present[:: len(present) // _NUM_LOOKED_AT + 1])
    sizes = {name: (folder / name).stat().st_size if name in looked_at else min_bytes for name in present}
    missing_first = sorted(names, key=lambda name: name in there)
    return faults_of(missing_first, sizes, min_bytes)


def _problem_of(folder: Path, faults: list[str], total: int) -> str | None:
    if not folder.is_dir():
        return f"there is no folder '{folder}'"
    if faults:
        name, _, fault = faults[0].partition(" ")
        missing = sum(fault.endswith("missing") for fault in faults)
        return f"'{folder / name}' {fault}" + (f" ({missing:,} such files)" if fault.endswith("missing") else "")
    return None if total >= NUM_OBJECTS else f"the lists name {total:,} objects, but {NUM_OBJECTS:,} are published"
