"""What is there of ModelNet40 and ModelNet10, in any of their forms; no object is read."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pointrecon.datasets.modelnet.files import KINDS, PARTS, ModelNetFiles
from pointrecon.datasets.packed.packed import open_packed
from pointrecon.datasets.packed.places import Places
from pointrecon.datasets.survey import MISSING, THERE, WRONG, Entry, Survey, count_files, faults_of, look_at
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import open_hdf5

SIZES = {40: (9843, 2468), 10: (3991, 908)}  # published numbers of training and of test objects
_HOMEPAGE = "https://modelnet.cs.princeton.edu/"
_LEFT_OUT = 3  # training objects that the HDF5 form lacks; it does not say which
_MIN_BYTES_TXT = 100_000  # 10,000 lines of six numbers are about 600 kB
Found = tuple[int, str | None, list[Entry]]  # objects, the first problem, files


def survey_files(files: ModelNetFiles) -> Survey:
    """Says what is there of a data set, without reading any object."""
    found, problems, kinds, tree = 0, [], [], _list_entries(files)
    for part in PARTS:
        kind = next((kind for kind in KINDS if files.has(kind, part)), "packed")
        entries: Sequence[Entry]
        try:
            number, problem, entries = _SURVEYORS[kind](files, part)
        except (InputError, OSError) as error:
            number, problem, entries = 0, str(error), [Entry(f"{part} objects ({kind})", WRONG, str(error))]
        found += number
        kinds.append(kind)
        tree += entries
        problems += [problem] if problem else []
    is_hdf5 = "hdf5" in kinds
    expected = sum(SIZES[files.num_classes]) - (_LEFT_OUT if is_hdf5 else 0)
    if not problems and found < expected:
        problems = [f"the lists name {found} objects, but {expected} are published"]
    return Survey(
        name=f"ModelNet{files.num_classes}",
        folder=files.hdf5_folder if set(kinds) == {"hdf5"} else files.folder,
        found=found,
        expected=expected,
        problem=problems[0] if problems else None,
        source=f"{_HOMEPAGE}, resampled: https://shapenet.cs.stanford.edu/media/modelnet40_normal_resampled.zip",
        terms="research use; copyright of the models remains with their authors",
        tree=tree if set(kinds) != {"hdf5"} else [entry for entry in tree if entry.state == THERE or entry.is_needed],
    )


def _list_entries(files: ModelNetFiles) -> list[Entry]:
    """The lists, which the HDF5 form does without."""
    is_needed = not all(files.has("hdf5", part) and not files.has("dat", part) for part in PARTS)
    names = [f"{files.name}_shape_names.txt", *(f"{files.name}_{part}.txt" for part in PARTS)]
    return [look_at(files.folder, name, is_needed=is_needed) for name in names]


def _survey_dat(files: ModelNetFiles, part: str) -> Found:
    ids, _ = files.read_ids(part, files.read_names())
    path = files.dat_path(part)
    least = len(ids) * files.num_points * 3 * 4
    entry = look_at(files.folder, path.name, least)
    if entry.state != THERE:
        size = path.stat().st_size
        return 0, f"'{path}' has {size:,} bytes, but {len(ids)} objects need {least:,} at least", [entry]
    return len(ids), None, [entry]


def _survey_txt(files: ModelNetFiles, part: str) -> Found:
    class_names = files.read_names()
    ids, labels = files.read_ids(part, class_names)
    sizes: dict[str, int] = {}
    for name in class_names:
        sizes |= {f"{name}/{file}": size for file, size in _list_files(files.folder / name).items()}
    names = [f"{class_names[label]}/{name}.txt" for name, label in zip(ids, labels, strict=True)]
    faults = faults_of(names, sizes, _MIN_BYTES_TXT)
    name, _, fault = faults[0].partition(" ") if faults else ("", "", "")
    problem = f"'{files.folder / name}' {fault}" if faults else None
    return len(ids) - len(faults), problem, [count_files(f"<class>/<object>.txt ({part})", len(ids), faults)]


def _survey_hdf5(files: ModelNetFiles, part: str) -> Found:
    is_wanted = np.isin(files.read_hdf5_names()[0], files.read_hdf5_names()[1])
    found, problem = 0, None
    entries = [look_at(files.hdf5_folder, "shape_names.txt"), look_at(files.hdf5_folder, f"{part}_files.txt")]
    for path in files.hdf5_files(part):
        try:
            with open_hdf5(path, ("data", "label")) as file:
                labels = file.read("label", "iu").reshape(-1)
                labels = labels[(labels >= 0) & (labels < len(is_wanted))]
                number = min(len(file.array("data")), int(is_wanted[labels].sum()))
            found += number
            entries.append(Entry(path.name, THERE, f"{number:,} objects"))
        except InputError as error:
            problem = problem or str(error)
            entries.append(Entry(path.name, WRONG if path.is_file() else MISSING))
    return found, problem, entries


def _survey_packed(files: ModelNetFiles, part: str) -> Found:
    places = Places(files.folder, files.packed_name(part, "dat"), files.cache_root).all
    path = next((path for path in places if path.is_file()), None)
    total = SIZES[files.num_classes][PARTS.index(part)]
    if path is None:
        forms = [
            f"one of these forms of the {total:,} {part} objects: {files.dat_path(part).name}",
            f"or <class>/<object>.txt, {total:,} files",
            f"or {files.hdf5_folder}/{part}_files.txt with its .h5 files",
        ]
        return 0, str(files.not_found(part)), [Entry(f"{part} objects", MISSING, "in any form", lacking=forms)]
    packed = open_packed(path)
    left_out = f"'{path}' was packed without {packed.num_skipped} objects that could not be read"
    entry = Entry(str(path), THERE, f"{len(packed.ids):,} objects")
    return len(packed.ids), left_out if packed.num_skipped else None, [entry]


_SURVEYORS = {"dat": _survey_dat, "txt": _survey_txt, "hdf5": _survey_hdf5, "packed": _survey_packed}


def _list_files(folder: Path) -> dict[str, int]:
    """Returns the sizes in bytes of the files in a folder."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
