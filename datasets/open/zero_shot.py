"""Zero-shot test sets in the layouts of OpenShape, Uni3D and ULIP-2: Objaverse-LVIS, ModelNet40, ScanObjectNN.

Shape legend: n objects, N points of an object, C classes, E width of a text feature.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from pointrecon.datasets.checks import read_list
from pointrecon.datasets.open.class_lists import array_features, dense, dict_features, labels_of, once, records, stack
from pointrecon.datasets.open.clouds import cloud_of, find_object_root, inner_path, read_object
from pointrecon.datasets.open.lists import find_rows
from pointrecon.datasets.open.shards import MANIFEST, OpenShards
from pointrecon.datasets.sets.scanobjectnn import CLASS_NAMES as SCAN_CLASSES
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import read_json
from pointrecon.utils.files.safe_pickle import load_npy_objects

Cloud = tuple[np.ndarray, np.ndarray | None]
LVIS, MODELNET, SCAN = "Objaverse-LVIS", "ModelNet40", "ScanObjectNN"
OBJAVERSE = "Objaverse/"  # what keys of its objects begin with
_DEPTH = 2  # folders between what the user names and where a layout begins


@dataclass(frozen=True)
class ZeroShotSet:
    """A labelled set of clouds, read one by one and always in the same order.

    Attributes:
        name: Of the set.
        source: The file that lists it.
        ids: n keys.
        labels: (n,) int64 places in `class_names`.
        class_names: C names, as published.
        read: row -> coordinates (N, 3) float32 with +y up, and colours (N, 3) in 0..1 or None.
        class_features: (C, E) float32 as stored, of CLIP's ViT-bigG-14; None: the files have none.
        notes: What a reader of a number has to know.
    """

    name: str
    source: Path
    ids: Sequence[str]
    labels: np.ndarray
    class_names: Sequence[str]
    read: Callable[[int], Cloud] = field(repr=False)
    class_features: np.ndarray | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray, name: str | None = None, note: str | None = None) -> "ZeroShotSet":
        """The objects of these rows, in this order."""
        read, rows = self.read, np.asarray(rows, np.int64)
        return replace(
            self,
            name=name or self.name,
            ids=[self.ids[row] for row in rows],
            labels=self.labels[rows],
            read=lambda row: read(int(rows[row])),
            notes=self.notes if note is None else (*self.notes, note),
        )


def find_zero_shot_sets(
    root: str | Path, *, skip_missing: bool = False, names: Sequence[str] = (LVIS, MODELNET, SCAN)
) -> list[ZeroShotSet]:
    """Every test set below a folder, whoever packed it.

    Args:
        root: Of OpenShape's `meta_data`, Uni3D's `uni3d_data`, ULIP-2's folders, or one above these.
        skip_missing: Objects whose file is not there are left out and counted; otherwise they are an error.
        names: Which sets; the files of others are not read.

    Raises:
        InputError: There is none, or one that is not whole.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"'{root}' is no folder; give the one that has meta_data, uni3d_data or ULIP-2's folders")
    found = []
    layouts = {marker: layout for marker, layout in LAYOUTS.items() if layout.name in names}
    for marker, layout in layouts.items():
        for path in find_files(root, marker):
            found.append(layout.read(path, skip_missing))
    if not found:
        what = "zero-shot test set that is known" if len(layouts) == len(LAYOUTS) else " or ".join(names)
        raise InputError(f"'{root}' has no {what}; such have one of: {', '.join(layouts)}")
    return found


def find_files(root: Path, marker: str) -> Iterator[Path]:
    """Files of this name below a folder, at most `_DEPTH` folders down."""
    for depth in range(_DEPTH + 1):
        yield from sorted(root.glob("*/" * depth + marker))


def _openshape_lvis(path: Path, skip_missing: bool) -> ZeroShotSet:
    rows = records(path, ("uid", "category"))
    names = sorted({str(row["category"]) for row in rows})
    features = array_features(path.parent.parent / "lvis_cat_name_pt_feat.npy", len(names))
    files = [
        row.get("data_path") or f"Objaverse/{row.get('group', '')}/{row['uid']}.npy".replace("//", "/") for row in rows
    ]
    labels = [names.index(str(row["category"])) for row in rows]
    return _of_files(path, [str(row["uid"]) for row in rows], files, labels, names, features, skip_missing)


def _uni3d_lvis(path: Path, skip_missing: bool) -> ZeroShotSet:
    ids, files, labels = [], [], []
    name_of: dict[int, str] = {}
    for number, line in enumerate(read_list(path, "download it again"), 1):
        start, _, rest = line.partition(",")
        parts = [part.strip() for part in rest.rsplit(",", 2)]  # a name may have commas
        is_index = start.strip().isdecimal() and len(start) < 10
        if len(parts) != 3 or not is_index or not parts[2].endswith(".npy"):
            raise InputError(f"line {number} of '{path}' is no class_index,class_name,uid,path.npy: '{line[:80]}'")
        index, name = int(start), parts[0]
        if name_of.setdefault(index, name) != name:
            raise InputError(
                f"line {number} of '{path}' calls class {index} '{name}', an earlier one '{name_of[index]}'"
            )
        ids.append(parts[1])
        files.append(parts[2])
        labels.append(index)
    names = dense(name_of, path)
    return _of_files(path, ids, files, labels, names, None, skip_missing)


def _ulip_lvis(path: Path, skip_missing: bool) -> ZeroShotSet:
    places, metadata = read_json(path), read_json(path.parent / "objaverse_lvis_metadata.json")
    name_of = metadata.get("value_to_key_mapping") if isinstance(metadata, dict) else None
    names = metadata.get("all_keys") if isinstance(metadata, dict) else None
    if not isinstance(places, dict) or not isinstance(name_of, dict) or not isinstance(names, list):
        raise InputError(f"'{path}' or its objaverse_lvis_metadata.json is not ULIP-2's: no dict of paths and names")
    if not all(isinstance(name, str) for name in (*names, *name_of.values())):
        raise InputError(f"the names beside '{path}' are no texts; download them again")
    known = set(once(names, path))
    kept = [uid for uid in places if name_of.get(uid) in known]
    note = () if len(kept) == len(places) else (f"{len(places) - len(kept)} objects without a class were left out",)
    row_of = {name: row for row, name in enumerate(names)}
    labels = [row_of[name_of[uid]] for uid in kept]
    made = _of_files(
        path, kept, [str(places[uid]) for uid in kept], labels, [str(x) for x in names], None, skip_missing
    )
    return replace(made, notes=(*made.notes, *note))


def _modelnet(path: Path, _: bool) -> ZeroShotSet:
    """Of OpenShape (class order: keys of the features), Uni3D (lines of a file) or ULIP-2 (sorted)."""
    folder = path.parent
    is_ulip = path.name != "test_pc.npy"
    split = folder / ("modelnet40_test_split_10k_colored.json" if is_ulip else "test_split.json")
    rows, clouds = records(split, ("category",)), load_npy_objects(path)
    if not isinstance(clouds, list) or len(clouds) != len(rows):
        raise InputError(f"'{path}' does not hold {len(rows)} clouds, as '{split}' says; get both from one place")
    names_file, features_file = folder / "modelnet40_shape_names.txt", folder / "cat_name_pt_feat.npy"
    stored = dict_features(features_file) if features_file.is_file() else {}
    if names_file.is_file():
        names = read_list(names_file, "download it again")
    else:
        names = list(stored) or sorted({str(row["category"]) for row in rows})
    labels = labels_of([str(row["category"]) for row in rows], names, split)
    ids = [str(row.get("name", number)) for number, row in enumerate(rows)]
    features = stack(stored, names, features_file) if stored else None
    return ZeroShotSet(
        MODELNET, path, ids, labels, names, lambda row: cloud_of(clouds[row], f"object {row} of '{path}'"), features
    )


def _scanobjectnn(path: Path, _: bool) -> ZeroShotSet:
    content = load_npy_objects(path)
    if not isinstance(content, dict) or "xyz" not in content or "label" not in content:
        raise InputError(f"'{path}' is no dict with 'xyz' and 'label'; get it from OpenShape's or Uni3D's test sets")
    xyz, rgb = content["xyz"], content.get("rgb")
    names = list(SCAN_CLASSES)
    try:
        labels = np.asarray(content["label"]).reshape(-1)
        len(xyz)
    except (ValueError, TypeError) as error:
        raise InputError(f"'{path}' has no list of clouds and of labels ({error}); download it again") from error
    if len(xyz) != len(labels) or labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < len(names))).all():
        raise InputError(f"'{path}' has {len(xyz)} clouds and {len(labels)} labels, which must lie in 0..14")
    features_file = path.parent / "cat_name_pt_feat.npy"
    features = stack(dict_features(features_file), names, features_file) if features_file.is_file() else None

    def read(row: int) -> Cloud:
        try:
            item = {"xyz": np.asarray(xyz[row]), **({} if rgb is None else {"rgb": np.asarray(rgb[row])})}
        except (ValueError, TypeError, LookupError) as error:
            raise InputError(f"object {row} of '{path}' is no cloud ({error}); download it again") from error
        return cloud_of(item, f"object {row} of '{path}'")

    ids = [str(row) for row in range(len(labels))]
    return ZeroShotSet(SCAN, path, ids, labels.astype(np.int64), names, read, features)


class Layout(NamedTuple):
    """A way to pack a set, and what reads it: (the file by which it is known, whether missing objects are left out)."""

    name: str
    read: Callable[[Path, bool], ZeroShotSet]


LAYOUTS: Mapping[str, Layout] = {
    "split/lvis.json": Layout(LVIS, _openshape_lvis),
    "objaverse_lvis/lvis_testset.txt": Layout(LVIS, _uni3d_lvis),
    "objaverse_lvis/lvis.json": Layout(LVIS, _ulip_lvis),
    "modelnet40/test_pc.npy": Layout(MODELNET, _modelnet),
    "modelnet40_10k_colored_pc/modelnet40_colored_10k_pc.npy": Layout(MODELNET, _modelnet),
    "scanobjectnn/xyz_label.npy": Layout(SCAN, _scanobjectnn),
}


def _of_files(
    path: Path,
    ids: Sequence[str],
    files: Sequence[str],
    labels: Sequence[int],
    names: Sequence[str],
    features: np.ndarray | None,
    skip_missing: bool,
) -> ZeroShotSet:
    """An LVIS whose objects have a file each, or are in shards that lie beside the list."""
    inner = [inner_path(file) for file in files]
    root = find_object_root(path.parent, inner[:1000])
    missing = [row for row, one in enumerate(inner) if root is None or not (root / one).is_file()]
    shards, places = (_in_shards(path, inner) if missing else None) or (None, np.full(len(inner), -1))
    places[np.setdiff1d(np.arange(len(inner)), missing)] = -1  # those that have a file
    missing = [row for row in missing if places[row] < 0]
    if len(missing) == len(inner) or (missing and not skip_missing):
        first = inner[missing[0]] if missing else "an empty list"
        raise InputError(
            f"'{path}' lists {len(inner)} objects and {len(missing)} of them are not there, the first is '{first}'; "
            "unpack them beside the list, or leave missing ones out (--skip-missing)"
        )
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if list(ids).count(name) > 1)
        raise InputError(f"'{path}' lists '{twice}' twice; mend the list")

    def read(row: int) -> Cloud:
        place = int(places[row])
        if shards is None or place < 0:
            assert root is not None
            return cloud_of(read_object(root / inner[row]), f"'{root / inner[row]}'")
        points, colors = shards.cloud(place)
        return points.astype(np.float32), colors.astype(np.float32) / 255 if shards.has_colors[place] else None

    made = ZeroShotSet(LVIS, path, list(ids), np.asarray(labels, np.int64), names, read, features)
    if not missing:
        return made
    kept = np.setdiff1d(np.arange(len(inner)), missing)
    return made.take(kept, note=f"{len(missing)} of {len(inner)} objects have no file and were left out")


def _in_shards(path: Path, inner: Sequence[PurePosixPath]) -> tuple[OpenShards, np.ndarray] | None:
    """The converted objects beside a list, and the row of each listed one (-1: not there); None: there are none."""
    folder = next((one / "shards" for one in list(path.parents)[:3] if (one / "shards" / MANIFEST).is_file()), None)
    if folder is None:
        return None
    shards = OpenShards(folder)
    keys = [str(one).removesuffix(".npy") for one in inner]
    wanted = np.array([(key if key.startswith(OBJAVERSE) else OBJAVERSE + key).encode() for key in keys], np.bytes_)
    return shards, find_rows(shards.keys, wanted)
