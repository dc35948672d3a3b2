"""Objects of OpenShape's distribution in shards without pickles: safetensors files, which training maps into memory.

Shape legend: n objects, P points of all objects of a shard, T texts of all of them, V = 13 views, E feature width.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

from pointrecon.datasets.open.objects import EXPONENT, KINDS, NUM_VIEWS, OpenObject
from pointrecon.datasets.open.shard_file import ARRAYS, REMEDY, Layout, read_layout
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, read_json
from pointrecon.utils.files.json_text import JsonError, parse_json

FORMAT = "pointrecon open objects 2"
MANIFEST = "manifest.json"
LARGEST = 60_000.0  # of float16
MAX_OPEN = 64  # shards that a process keeps mapped


def write_shard(objects: Sequence[OpenObject], path: Path) -> None:
    """Writes a shard, whole or not at all.

    It holds `points` (P, 3) float16 and `colors` (P, 3) uint8 with `point_offsets` (n + 1,), `has_colors` (n,),
    `views` (n, 13, E) float16 with `view_mask` (n, 13), the thumbnail in row 0, `text_features` (T, E) float16 with
    `text_kinds` (T,) and `text_offsets` (n + 1,), the texts as `text_bytes` with `text_ends` (T,), and in its header
    ids, sets and groups.
    """
    from safetensors.numpy import save_file

    width = objects[0].views.shape[1]
    views = np.zeros((len(objects), NUM_VIEWS, width), np.float16)
    mask = np.zeros((len(objects), NUM_VIEWS), bool)
    offsets = _offsets([len(one.points) for one in objects])
    points, colors = np.empty((offsets[-1], 3), np.float16), np.zeros((offsets[-1], 3), np.uint8)
    for row, one in enumerate(objects):
        first = 0 if one.has_thumbnail else 1
        views[row, first : first + len(one.views)] = one.views
        mask[row, first : first + len(one.views)] = True
        rows = torch.from_numpy(points[offsets[row] : offsets[row + 1]])
        rows.copy_(torch.as_tensor(_fitting(one.points)))  # NumPy's own conversion takes twenty times as long
        if one.colors is not None:
            colors[offsets[row] : offsets[row + 1]] = np.rint(255 * one.colors)
    texts = [text.encode("utf-8", "replace") for one in objects for text in one.texts]
    arrays = {
        "points": points,
        "colors": colors,
        "point_offsets": offsets,
        "has_colors": np.array([one.colors is not None for one in objects]),
        "views": views,
        "view_mask": mask,
        "text_features": np.concatenate([one.text_features for one in objects]),
        "text_kinds": np.concatenate([one.kinds for one in objects]),
        "text_offsets": _offsets([len(one.texts) for one in objects]),
        "text_bytes": np.frombuffer(b"".join(texts), np.uint8),
        "text_ends": _offsets([len(text) for text in texts])[1:],
    }
    about = {
        "ids": [one.id for one in objects],
        "datasets": [one.dataset for one in objects],
        "groups": [one.group for one in objects],
    }
    with atomic_write(path) as temporary:
        save_file(arrays, temporary, {"format": FORMAT, "about": json.dumps(about)})


def _fitting(points: np.ndarray) -> np.ndarray:
    """Points as they are or, where 11 bits a coordinate would move them visibly, centred and of radius 1."""
    low, high = _extent(points)
    size = float(max(-low.min(), high.max()))
    if 2**-10 <= size <= 2 * float((high - low).max()) and size < LARGEST:
        return points  # whatever the centre is, the radius about it is half of the extent at least
    center = points.mean(0, dtype=np.float64)
    radius = float(np.abs(points - center).max(initial=0))
    if 2**-10 <= size <= 4 * radius and size < LARGEST:
        return points
    return ((points - center) / max(radius, 1e-30)).astype(np.float32)


def _extent(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest coordinates (3,); 100 points are a row, which takes a tenth of the time."""
    whole = len(points) // 100 * 100
    rows = points[:whole].reshape(-1, 300)
    found = [points[whole:], *([edge.reshape(100, 3) for edge in (rows.min(0), rows.max(0))] if whole else [])]
    both = np.concatenate(found)
    return both.min(0), both.max(0)


def key_of(dataset: str, group: str, name: str) -> str:
    """What an object is called among those of all sets: `Objaverse/000-000/0a1b`, or `ABO/0a1b` without a group."""
    return "/".join(part for part in (dataset, group, name) if part)


def _offsets(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


class OpenShards:
    """The objects of a folder of shards, by row, in the order of its manifest. Opening it reads no object.

    What is small is in memory, about 100 bytes an object; points and features are views of mapped files, and those of
    the last `MAX_OPEN` shards stay mapped.

    Args:
        folder: As `scripts/convert_openshape.py` writes it.

    Attributes:
        manifest: What the converter says of them.
        width: E.
        counts: Objects of each shard.
        keys: (n,) bytes, see `key_of`.
        num_points: (n,) points of each object.
        has_colors: (n,) bool.
        view_mask: (n, 13) bool.

    Raises:
        InputError: There is no manifest, a shard that it names is not there, of another size or damaged, or two objects
            have one name.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / MANIFEST).is_file():
            raise InputError(
                f"there are no converted objects in '{self.folder}' (no {MANIFEST}); make them with "
                "scripts/convert_openshape.py, or name their folder (data_root, data.options.shards)"
            )
        manifest = read_json(self.folder / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise InputError(f"'{self.folder / MANIFEST}' is no manifest of converted objects ({FORMAT}); {REMEDY}")
        if not _is_manifest(manifest):
            raise InputError(f"'{self.folder / MANIFEST}' is damaged; {REMEDY}")
        self.manifest: dict[str, Any] = manifest
        self.width = manifest["width"]
        self.files: list[Path] = []
        self.counts: list[int] = []
        self._layouts: list[Layout] = []
        parts: dict[str, list[np.ndarray]] = {}
        for shard in manifest["shards"]:
            file = self.folder / shard["file"]
            if not file.is_file() or file.stat().st_size != shard["bytes"]:
                raise InputError(f"the shard '{file}' is not there or not whole; {REMEDY}")
            self.files.append(file)
            self.counts.append(shard["count"])
            layout = read_layout(file, ARRAYS, ("about",))
            for name, values in _small_arrays(layout, self.counts[-1], self.width).items():
                parts.setdefault(name, []).append(values)
            self._layouts.append(Layout(file, layout.places, {}))
        self._starts = _offsets(self.counts)
        whole = {name: np.concatenate(values) for name, values in parts.items()}
        self.keys, self.has_colors, self.view_mask = whole["keys"], whole["has_colors"], whole["view_mask"]
        self.num_points, self._first_point = whole["num_points"], whole["first_point"]
        self._first_text, self._num_texts = whole["first_text"], whole["num_texts"]
        self._maps: OrderedDict[int, dict[str, np.ndarray]] = OrderedDict()
        ordered = np.sort(self.keys)
        if (twice := np.flatnonzero(ordered[1:] == ordered[:-1])).size:
            raise InputError(f"'{folder}' has '{ordered[twice[0]].decode()}' twice; convert each object once")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def cloud(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3) float16 points and (N, 3) uint8 colours of an object, as views; zeros where it has no colours."""
        arrays, _ = self._arrays(row)
        first = int(self._first_point[row])
        last = first + int(self.num_points[row])
        return self._sound(arrays["points"][first:last], row), arrays["colors"][first:last]

    def views(self, row: int) -> np.ndarray:
        """(13, E) float16 features of an object's views, a view; what it lacks is zero."""
        arrays, place = self._arrays(row)
        return self._sound(arrays["views"][place], row)

    def texts(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """(t,) uint8 places in `KINDS` of an object's texts, in increasing order, and their (t, E) float16 features."""
        arrays, _ = self._arrays(row)
        count, first = int(self._num_texts[row]), int(self._first_text[row])
        if not count:
            return np.zeros(0, np.uint8), np.zeros((0, self.width), np.float16)
        kinds = arrays["text_kinds"][first : first + count]
        if kinds.max() >= len(KINDS):
            raise InputError(f"the texts of '{self.keys[row].decode()}' are of unknown kinds; {REMEDY}")
        return kinds, self._sound(arrays["text_features"][first : first + count], row)

    def words(self, row: int, place: int) -> str:
        """The text of an object at a place among its texts."""
        arrays, _ = self._arrays(row)
        number = int(self._first_text[row]) + place
        start = int(arrays["text_ends"][number - 1]) if number else 0
        end = int(arrays["text_ends"][number])
        return arrays["text_bytes"][start:end].tobytes().decode("utf-8", "replace") if end > start else ""

    def __getitem__(self, row: int) -> OpenObject:
        """The object of a row, in memory of its own; points have three digits, colours 256 steps."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        points, colors = self.cloud(row)
        kinds, features = self.texts(row)
        mask, (dataset, *group, name) = self.view_mask[row], self.keys[row].decode().split("/")
        return OpenObject(
            dataset,
            "/".join(group),
            name,
            points.astype(np.float32),
            colors.astype(np.float32) / 255 if self.has_colors[row] else None,
            self.views(row)[mask],
            bool(mask[0]),
            [self.words(row, place) for place in range(len(kinds))],
            kinds.copy(),
            features.copy(),
        )

    def _sound(self, values: np.ndarray, row: int) -> np.ndarray:
        """The values of an object, unless a bit of the file has turned them into no numbers."""
        if values.size and (values.view(np.uint16) & EXPONENT).max() >= EXPONENT:
            raise InputError(f"'{self.keys[row].decode()}' has numbers that are not finite; {REMEDY}")
        return values

    def _arrays(self, row: int) -> tuple[dict[str, np.ndarray], int]:
        """The mapped arrays of the shard that has a row, and the row's place in it."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        arrays = self._maps.get(number)
        if arrays is None:
            try:
                arrays = self._maps[number] = self._layouts[number].map()
            except (OSError, ValueError, TypeError) as error:  # it has gone or become shorter since it was opened
                raise InputError(f"the shard '{self.files[number]}' cannot be read ({error}); {REMEDY}") from error
            if len(self._maps) > MAX_OPEN:
                self._maps.popitem(last=False)
        else:
            self._maps.move_to_end(number)
        return arrays, row - int(self._starts[number])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": OrderedDict()}  # another process maps them itself


def _is_manifest(manifest: dict[str, Any]) -> bool:
    """Whether it has a width and shards, each a file beside it with a number of bytes and of objects."""
    shards, numbers = manifest.get("shards"), [manifest.get("width")]
    if not isinstance(shards, list) or not shards or not all(isinstance(shard, dict) for shard in shards):
        return False
    names = [shard.get("file") for shard in shards]
    numbers += [shard.get(key) for shard in shards for key in ("bytes", "count")]
    is_named = all(isinstance(name, str) and PurePath(name).name == name and "\0" not in name for name in names)
    is_named = is_named and all(len(name.encode(errors="replace")) <= 255 for name in names)  # no file's name is longer
    return is_named and all(type(number) is int and 0 < number < 1 << 62 for number in numbers)


def _small_arrays(layout: Layout, count: int, width: int) -> dict[str, np.ndarray]:
    """What is kept in memory of a shard's objects, checked against each other."""
    try:
        about = parse_json(layout.notes["about"])
        names = [about[name] for name in ("datasets", "groups", "ids")]
        if not all(one for part in (names[0], names[2]) for one in part):
            raise ValueError("an object without a name")
        keys = [key_of(*map(str, one)).encode() for one in zip(*names, strict=True)]
    except (JsonError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"'{layout.path}' is damaged (its header: {error}); {REMEDY}") from error
    shapes = {name: place.shape for name, place in layout.places.items()}
    points, texts, has_colors = (layout.read(name) for name in ("point_offsets", "text_offsets", "has_colors"))
    lengths = {len(keys), len(points) - 1, len(texts) - 1, len(has_colors), *(shapes[x][0] for x in _BY_OBJECT)}
    is_whole = lengths == {count} and all(x[0] == 0 and (np.diff(x) >= 0).all() for x in (points, texts))
    is_whole = is_whole and {shapes[name][0] for name in ("points", "colors")} == {int(points[-1])}
    is_whole = is_whole and {shapes[name][0] for name in _BY_TEXT} == {int(texts[-1])}
    ends = layout.read("text_ends")
    is_whole = is_whole and bool((np.diff(ends, prepend=0) >= 0).all() and (ends[-1:] == shapes["text_bytes"]).all())
    if not is_whole:
        raise InputError(f"'{layout.path}' is damaged (its arrays do not fit each other); {REMEDY}")
    if {shapes["views"][2], shapes["text_features"][1]} != {width}:
        raise InputError(
            f"'{layout.path}' has features {shapes['views'][2]} and {shapes['text_features'][1]} wide, but its "
            f"manifest says {width}; {REMEDY}"
        )
    return {
        "keys": np.array(keys, dtype=np.bytes_),
        "has_colors": has_colors,
        "view_mask": layout.read("view_mask"),
        "num_points": np.diff(points).astype(np.int32),
        "first_point": points[:-1],
        "num_texts": np.diff(texts).astype(np.int32),
        "first_text": texts[:-1],
    }


_BY_OBJECT = ("views", "view_mask")
_BY_TEXT = ("text_features", "text_kinds", "text_ends")
