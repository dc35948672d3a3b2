"""Objects of OpenShape's distribution in shards without pickles: safetensors files, which training maps into memory.

Shape legend: n objects of a shard, P points of all of them, T texts of all of them, V = 13 views, E feature width.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.datasets.open.objects import NUM_VIEWS, OpenObject
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, read_json

FORMAT = "pointrecon open objects 1"
MANIFEST = "manifest.json"


def write_shard(objects: Sequence[OpenObject], path: Path) -> None:
    """Writes a shard, whole or not at all.

    It holds `points` (P, 3) float16 and `colors` (P, 3) uint8 with `point_offsets` (n + 1,), `has_colors` (n,),
    `views` (n, 13, E) float16 with `view_mask` (n, 13), the thumbnail in row 0, `text_features` (T, E) float16 with
    `text_kinds` (T,) and `text_offsets` (n + 1,), and in its header ids, sets, groups and texts.
    """
    from safetensors.numpy import save_file

    width = objects[0].views.shape[1]
    views = np.zeros((len(objects), NUM_VIEWS, width), np.float16)
    mask = np.zeros((len(objects), NUM_VIEWS), bool)
    for row, one in enumerate(objects):
        first = 0 if one.has_thumbnail else 1
        views[row, first : first + len(one.views)] = one.views
        mask[row, first : first + len(one.views)] = True
    colors = [
        np.zeros((len(one.points), 3), np.uint8) if one.colors is None else np.round(255 * one.colors).astype(np.uint8)
        for one in objects
    ]
    arrays = {
        "points": np.concatenate([one.points.astype(np.float16) for one in objects]),
        "colors": np.concatenate(colors),
        "point_offsets": _offsets([len(one.points) for one in objects]),
        "has_colors": np.array([one.colors is not None for one in objects]),
        "views": views,
        "view_mask": mask,
        "text_features": np.concatenate([one.text_features for one in objects]),
        "text_kinds": np.concatenate([one.kinds for one in objects]),
        "text_offsets": _offsets([len(one.texts) for one in objects]),
    }
    about = {
        "ids": [one.id for one in objects],
        "datasets": [one.dataset for one in objects],
        "groups": [one.group for one in objects],
        "texts": [one.texts for one in objects],
    }
    with atomic_write(path) as temporary:
        save_file(arrays, temporary, {"format": FORMAT, "about": json.dumps(about, ensure_ascii=False)})


def _offsets(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


class OpenShards:
    """The objects of a folder of shards, by row, in the order of its manifest. Opening it reads no object.

    Args:
        folder: As `scripts/convert_openshape.py` writes it.

    Raises:
        InputError: There is no manifest, or a shard that it names is not there or of another size.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        manifest = read_json(self.folder / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise InputError(f"'{self.folder / MANIFEST}' is no manifest of converted objects ({FORMAT})")
        self.manifest: dict[str, Any] = manifest
        self.width = int(manifest["width"])
        self.files: list[Path] = []
        counts = []
        for shard in manifest["shards"]:
            file = self.folder / str(shard["file"])
            if not file.is_file() or file.stat().st_size != shard["bytes"]:
                raise InputError(f"the shard '{file}' is not there or not whole; convert again, which makes what lacks")
            self.files.append(file)
            counts.append(int(shard["count"]))
        self._starts = _offsets(counts)
        self._open: tuple[int, Any, dict[str, Any]] | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, row: int) -> OpenObject:
        """The object of a row; points have three digits, colours 256 steps."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        file, about = self._shard(number)
        place = row - int(self._starts[number])
        start, end = file.get_slice("point_offsets")[place : place + 2].tolist()
        first, last = file.get_slice("text_offsets")[place : place + 2].tolist()
        mask = file.get_slice("view_mask")[place : place + 1][0]
        has_colors = bool(file.get_slice("has_colors")[place : place + 1][0])
        has_text = last > first  # the library refuses an empty slice of an empty tensor
        kinds = file.get_slice("text_kinds")[first:last] if has_text else np.zeros(0, np.uint8)
        texts = file.get_slice("text_features")[first:last] if has_text else np.zeros((0, self.width), np.float16)
        return OpenObject(
            about["datasets"][place],
            about["groups"][place],
            about["ids"][place],
            file.get_slice("points")[start:end].astype(np.float32),
            file.get_slice("colors")[start:end].astype(np.float32) / 255 if has_colors else None,
            file.get_slice("views")[place : place + 1][0][mask],
            bool(mask[0]),
            list(about["texts"][place]),
            kinds,
            texts,
        )

    def _shard(self, number: int) -> tuple[Any, dict[str, Any]]:
        if self._open is None or self._open[0] != number:
            from safetensors import safe_open

            file = safe_open(str(self.files[number]), framework="numpy")
            self._open = number, file, json.loads(file.metadata()["about"])
        return self._open[1:]
