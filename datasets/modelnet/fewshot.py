"""Few-shot classification on ModelNet40: a few classes, a few labelled objects of each, ten draws (folds) a setting.

Shape legend: n objects, N points an object.
"""

import hashlib
import logging
import os
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from pointrecon.datasets import DATASETS
from pointrecon.datasets.checks import check_cloud, refuse_same_clouds
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.modelnet.class_names import MODELNET40
from pointrecon.datasets.modelnet.files import read_label
from pointrecon.datasets.modelnet.modelnet import ModelNet40
from pointrecon.datasets.sample import Sample
from pointrecon.datasets.survey import Survey, count_files, faults_of
from pointrecon.datasets.transforms import normalize_unit_sphere
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.files.safe_pickle import load_pickle
from pointrecon.utils.log import progress_bar

FOLDERS = ("ModelNetFewshot", "ModelNet/ModelNetFewshot")
SETTINGS = ((5, 10), (5, 20), (10, 10), (10, 20))  # published (way, shots)
NUM_FOLDS = 10
NUM_QUERIES = 20  # published test objects a class
PROGRAM = "scripts/prepare_data.py fewshot"
_SOURCE = "https://github.com/Julie-tang00/Point-BERT, or made from ModelNet40 with " + PROGRAM
_NAME_TYPES = (str, int, np.integer)
# Of files that say which objects they hold.
_ORIGIN: dict[str, Any] = {"type": "ModelNet40", "root": None, "options": {}}
_MIN_BYTES = 1000 * 1024 * 3  # a fold has at least 150 objects

log = logging.getLogger("recon")


class Entry(NamedTuple):
    """One object of a file."""

    row: int  # in its list
    points: np.ndarray  # (N, 3) float32
    label: int
    third: Any  # whatever comes third: often the name of the class


@DATASETS.register()
class ModelNetFewShot(PointCloudDataset):
    """One fold of a few-shot setting. Figures are the mean over the ten folds.

    Clouds are in the unit sphere of all their stored points. A fold is small and is held in memory, in one tensor.

    Args:
        root: The data root; the file is <root>/ModelNetFewshot/5way10shot/0.pkl, or the same under <root>/ModelNet, or
            with the folder spelt 5way_10shot.
        splits: Which of the two parts of the file to take: the labelled objects, and those for testing.
        fold: 0..9: which file.
        shots: Labelled objects a class; chooses the folder.
        way: Number of classes; chooses the folder.
        on_error: An object that is damaged: `raise`, or `skip`: leave it out.

    Attributes:
        class_names: The names of the fold's classes, where the file tells them, otherwise `class 0` and so on.
        points: (n, N, 3) float32 of all objects of `splits`.
        is_fps_ordered: Only said by files of `PROGRAM`.

    Raises:
        InputError: A missing, truncated, damaged or refused file, or an argument that is missing or out of range.
    """

    is_uniform = True

    def __init__(
        self,
        root: str,
        *,
        splits: Sequence[str] = ("train", "test"),
        fold: int | None = None,
        shots: int | None = None,
        way: int | None = None,
        on_error: str = "raise",
    ) -> None:
        check_choice("data.on_error", on_error, ("raise", "skip"))
        path, way = find_fold(Path(root), way, shots, fold)
        content = load_pickle(path)
        if not isinstance(content, dict) or not {"train", "test"} <= content.keys():
            raise InputError(
                f"'{path}' must hold a dict with 'train' and 'test', but does not; get it again: {_SOURCE}"
            )
        refuse_same_clouds(_clouds(content["train"]), _clouds(content["test"]), f"'{path}'", f"get it again: {_SOURCE}")
        entries: list[Entry] = []
        split_of: list[str] = []
        for split in splits:
            what = f"'{split}' of '{path}'"
            num_points = len(entries[0].points) if entries else None
            found, num_skipped = _read_entries(content[split], way, what, num_points, on_error)
            absent = sorted(set(range(way)) - {entry.label for entry in found})
            if absent:
                raise InputError(f"{what} has no object of class {absent[0]}, but {way} classes are asked for")
            entries += found
            split_of += [split] * len(found)
            self.num_skipped += num_skipped
        super().__init__(
            ids=[
                f"{way}way{shots}shot-{fold}-{split}-{entry.row:04d}"
                for split, entry in zip(split_of, entries, strict=True)
            ],
            labels=[entry.label for entry in entries],
            split_of=split_of,
            class_names=_class_names(entries, way),
        )
        self.is_fps_ordered = content.get("is_fps_ordered") is True
        self._origins = _read_origins(content.get("ids"), split_of, entries)
        self.knows_objects = self._origins is not None
        # Published files do not say which objects they hold: equal clouds are told from fold to fold, and no more.
        self._marks = self._origins or [hashlib.sha256(entry.points.tobytes()).hexdigest() for entry in entries]
        self._name_members()
        # parity: the unit sphere is that of all stored points, whatever is drawn from them later.
        self.points = normalize_unit_sphere(torch.from_numpy(np.stack([entry.points for entry in entries])))

    def read(self, row: int) -> Sample:
        return self.sample(row, self.points[row])

    def keep(self, rows: Sequence[int] | np.ndarray) -> None:
        super().keep(rows)
        self._name_members()

    def _name_members(self) -> None:
        origin = {**_ORIGIN, "type": "ModelNet40" if self.knows_objects else "ModelNetFewShot"}
        self.members = [(origin, [self._marks[row] for row in self._rows])]

    @staticmethod
    def survey(root: str) -> list[Survey]:
        """What is there under a data root; it counts the files of the four settings and ten folds."""
        folder, tree, faults = Path(root) / FOLDERS[0], [], []
        for way, shots in SETTINGS:
            sizes: dict[str, int] = {}
            for candidate in _folders(Path(root), way, shots):
                if candidate.is_dir():
                    folder = candidate.parent
                    with os.scandir(candidate) as entries:
                        sizes = {entry.name: entry.stat().st_size for entry in entries} | sizes
            found = faults_of([f"{fold}.pkl" for fold in range(NUM_FOLDS)], sizes, _MIN_BYTES)
            tree.append(count_files(f"{way}way{shots}shot/<fold>.pkl", NUM_FOLDS, found))
            faults += [f"{way}way{shots}shot/{fault}" for fault in found]
        total = len(SETTINGS) * NUM_FOLDS
        name, _, fault = faults[0].partition(" ") if faults else ("", "", "")
        problem = f"'{folder / name}' {fault}" if faults else None
        number = total - len(faults)
        return [Survey("ModelNet40 few-shot", folder, number, total, problem, _SOURCE, "as for ModelNet40", tree)]


def find_fold(root: Path, way: int | None, shots: int | None, fold: int | None) -> tuple[Path, int]:
    """Returns the file of a fold, and `way`.

    Raises:
        InputError: It is missing, or way, shots or fold is not given or out of range.
    """
    way, shots = _whole("way", way, 2), _whole("shots", shots, 1)
    if isinstance(fold, bool) or not isinstance(fold, int) or not 0 <= fold < NUM_FOLDS:
        raise InputError(f"data.fold is {fold}, but ModelNetFewShot needs 0 to {NUM_FOLDS - 1}")
    folders = [folder for folder in _folders(root, way, shots) if folder.is_dir()]
    for folder in folders:
        if (folder / f"{fold}.pkl").is_file():
            return folder / f"{fold}.pkl", way
    if folders:
        raise InputError(f"there is no '{folders[0] / f'{fold}.pkl'}'; get it again: {_SOURCE}")
    raise InputError(
        f"there is no folder '{way}way{shots}shot' or '{way}way_{shots}shot' in '{root / FOLDERS[0]}' or "
        f"'{root / FOLDERS[1]}'; make it with {PROGRAM}, or download it: {_SOURCE}"
    )


def _whole(name: str, value: int | None, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(
            f"data.{name} is {value}, but ModelNetFewShot needs it as a whole number from {least}; the published "
            "settings are way=5 or 10 with shots=10 or 20"
        )
    return value


def make_folds(
    root: str,
    out: str | Path | None = None,
    settings: Sequence[tuple[int, int]] = SETTINGS,
    num_folds: int = NUM_FOLDS,
    seed: int = 0,
    source: str = "auto",
    num_stored: int = 8192,
) -> list[Path]:
    """Draws few-shot folds from ModelNet40 and writes them as published code reads them.

    Args:
        root: The data root, with ModelNet40.
        out: Folder for the settings; None: <root>/ModelNetFewshot.
        settings: Pairs of way (classes) and shots (training objects a class).
        num_folds: Files a setting.
        seed: Draws classes and objects; a fold depends on it, on its setting and on its number, on nothing else.
        source: Form of the ModelNet40 files.
        num_stored: Points an object of ModelNet40.

    Returns:
        The files.

    Raises:
        InputError: ModelNet40 cannot be read, a class is too small for a setting, or a file cannot be written.
    """
    parts = {part: ModelNet40(root, splits=[part], source=source, num_stored=num_stored) for part in ("train", "test")}
    folder = Path(out) if out is not None else Path(root) / FOLDERS[0]
    jobs = [(way, shots, fold) for way, shots in settings for fold in range(num_folds)]
    drawn = [draw_fold(parts, way, shots, fold, seed) for way, shots, fold in jobs]  # all are possible, or none is made
    paths = []
    for (way, shots, fold), rows in progress_bar(list(zip(jobs, drawn, strict=True)), "folds"):
        path = folder / f"{way}way{shots}shot" / f"{fold}.pkl"
        content: dict[str, Any] = {part: _entries(parts[part], *rows[part]) for part in parts}
        content["is_fps_ordered"] = parts["train"].is_fps_ordered
        content["ids"] = {part: [parts[part].ids[row] for row in rows[part][0]] for part in parts}
        with atomic_write(path) as temporary:
            temporary.write_bytes(pickle.dumps(content, protocol=4))
        paths.append(path)
    return paths


def draw_fold(
    parts: dict[str, ModelNet40], way: int, shots: int, fold: int, seed: int
) -> dict[str, tuple[list[int], list[int]]]:
    """Draws one fold.

    Returns:
        {part: (rows of the data set, labels 0 .. way - 1)}, `shots` a class of `train`, 20 of `test`.

    Raises:
        InputError: There are not that many classes, or objects of a class.
    """
    names = parts["train"].class_names
    if not 2 <= way <= len(names):
        raise InputError(f"way is {way}, but must be 2 to {len(names)}")
    random = np.random.RandomState([seed, way, shots, fold])
    classes = random.permutation(len(names))[:way]
    drawn = {}
    for part, count in (("train", shots), ("test", NUM_QUERIES)):
        rows: list[int] = []
        labels = parts[part].labels.numpy()
        for label in classes:
            candidates = random.permutation(np.flatnonzero(labels == label))
            if not 1 <= count <= len(candidates):
                raise InputError(
                    f"{count} objects of class '{names[label]}' are to be drawn from the {part} split, which has "
                    f"{len(candidates)}"
                )
            rows += candidates[:count].tolist()
        drawn[part] = rows, np.repeat(np.arange(way), count).tolist()
    return drawn


def _entries(dataset: ModelNet40, rows: list[int], labels: list[int]) -> list[tuple[np.ndarray, int, str]]:
    names = [dataset.class_names[int(dataset.labels[row])] for row in rows]
    return [(dataset[row]["points"].numpy(), label, name) for row, label, name in zip(rows, labels, names, strict=True)]


def _folders(root: Path, way: int, shots: int) -> list[Path]:
    return [root / folder / name for folder in FOLDERS for name in (f"{way}way{shots}shot", f"{way}way_{shots}shot")]


def _read_origins(ids: Any, split_of: Sequence[str], entries: Sequence[Entry]) -> list[str] | None:
    """The key in ModelNet40 of each object, if the file has them."""
    try:
        found = [ids[split][entry.row] for split, entry in zip(split_of, entries, strict=True)]
    except (TypeError, KeyError, IndexError):
        return None
    return found if all(isinstance(key, str) for key in found) else None


def _read_entries(content: Any, way: int, what: str, num_points: int | None, on_error: str) -> tuple[list[Entry], int]:
    """Returns the readable entries, and how many are not; all have `num_points` points, or as many as the first."""
    if not isinstance(content, (list, tuple)) or not len(content):
        raise InputError(f"{what} must be a list of objects, but is {type(content).__name__}; get it again: {_SOURCE}")
    good: list[Entry] = []
    for row, entry in enumerate(content):
        name = f"object {row} in {what}"
        try:
            if not isinstance(entry, (list, tuple)) or len(entry) < 2:
                raise InputError(f"{name} must start with points and a label, but does not; get it again: {_SOURCE}")
            points = check_cloud(entry[0], name, num_points or _num_points(entry[0]))
            good.append(Entry(row, points, read_label(entry[1], way, name), entry[2] if len(entry) > 2 else None))
            num_points = len(points)
        except InputError as error:
            if on_error == "raise":
                raise
            log.warning("left out: %s", error)
    if not good:
        raise InputError(f"none of the {len(content)} objects in {what} can be read; get it again: {_SOURCE}")
    return good, len(content) - len(good)


def _clouds(content: Any) -> list[Any]:
    """The coordinates of the objects of a part, None for what is no cloud."""
    entries = content if isinstance(content, (list, tuple)) else ()
    firsts = [entry[0] if isinstance(entry, (list, tuple)) and len(entry) else None for entry in entries]
    return [item[:, :3] if isinstance(item, np.ndarray) and item.ndim == 2 else None for item in firsts]


def _num_points(values: Any) -> int:
    is_table = isinstance(values, (list, tuple)) or (isinstance(values, np.ndarray) and values.ndim)
    return len(values) if is_table else 1


def _class_names(entries: list[Entry], way: int) -> list[str]:
    """What comes third in an entry is a name, a class of the 40 or anything; it counts if all of a class agree."""
    names = []
    for label in range(way):
        given = [entry.third for entry in entries if entry.label == label]
        thirds = {str(item) if isinstance(item, _NAME_TYPES) else "" for item in given}
        name = thirds.pop() if len(thirds) == 1 else ""
        if name.isdecimal() and len(name) < 5 and int(name) < len(MODELNET40):
            name = MODELNET40[int(name)]
        names.append(name if re.search("[a-z]", name) and name != "None" else f"class {label}")
    return names if len(set(names)) == way else [f"class {label}" for label in range(way)]
