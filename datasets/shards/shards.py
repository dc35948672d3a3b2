"""Samples in shards: tar files in WebDataset's layout, with the teachers' features beside the points.

For data sets that are too large or have too many files to be read otherwise. The format: datasets/README.md.
Shape legend: n samples, N points, V views, P prompts, D feature width.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointrecon.datasets import DATASETS
from pointrecon.datasets.checks import check_cloud
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.sample import CarriedInfo, Sample
from pointrecon.datasets.shards.index import (
    CHECKSUM,
    FIELDS,
    MAX_BYTES,
    OFFSETS,
    SIZES,
    checksum,
    parse_npy,
    read_index,
    read_objects,
)
from pointrecon.datasets.shards.order import epoch_order
from pointrecon.datasets.shards.shared import refuse_shared
from pointrecon.datasets.shards.tar import REMEDY
from pointrecon.utils.errors import InputError

MAX_LABEL = 1 << 31  # where the index names no classes
MAX_OPEN = 64  # shards that a process keeps open
KINDS = ("image", "text")


@DATASETS.register()
class Shards(PointCloudDataset):
    """What scripts/prepare_data.py shards has written, or another program in the same layout.

    Only the index is in memory, mapped from its file; a sample is read when it is asked for, and held against its
    checksum. All processes and workers may read at the same time.

    Args:
        root: The data root; the shards are in <root>/<folder>/<split>.
        split: `pretrain`, `train` or `test`, whichever was written.
        folder: Of the splits.
        num_lanes: Read side by side; see `epoch_order`. Choose a multiple of the number of processes.
        buffer: Of the shuffling, samples a lane.
        cache_root: Folder for the index of shards that bring none; None: beside them.

    Attributes:
        ids, names, labels: Asking for them reads all shards.
        num_points: N.

    Raises:
        InputError: No or damaged shards, or an option that shards do not have.
    """

    may_pick = False
    is_uniform = True

    def __init__(
        self,
        root: str,
        split: str = "pretrain",
        *,
        folder: str = "shards",
        num_lanes: int = 48,
        buffer: int = 1000,
        cache_root: str | None = None,
    ) -> None:
        if num_lanes < 1 or buffer < 1:
            raise InputError(f"data.options.num_lanes is {num_lanes} and buffer {buffer}, but both must be at least 1")
        self.folder, self.split = Path(root) / folder / split, split
        self.num_lanes, self.buffer = num_lanes, buffer
        self._cache_root = cache_root
        index = read_index(self.folder, cache_root)
        info, self._positions = index
        self.counts = [shard["num_samples"] for shard in info["shards"]]
        self._shards = [(self.folder / shard["name"], shard["bytes"]) for shard in info["shards"]]
        self._open: OrderedDict[int, int] = OrderedDict()
        class_names = list(info.get("class_names", ()))
        # What is known of each sample stays in the shards: the properties below read it.
        super().__init__(ids=(), class_names=class_names, class_texts=list(info.get("class_texts", class_names)))
        self._rows = range(len(self._positions))
        self._objects = read_objects(self.folder)
        self.knows_objects = self._objects is not None
        self.is_fps_ordered = bool(info.get("is_fps_ordered", False))
        self.carried = {kind: info[kind] for kind in KINDS if kind in info}
        self.num_points = info.get("num_points") or self._find_size()
        refuse_shared(self.folder, index)

    def read(self, row: int) -> Sample:
        arrays, what = self._read(row), f"sample {row} of '{self.folder}'"
        notes = arrays["json"]
        sample = Sample(
            points=torch.from_numpy(check_cloud(arrays["points.npy"], what, self.num_points)),
            label=notes["label"],
            text=notes["text"],
            id=notes["id"],
        )
        if "image" in self.carried:
            sample["image_features"] = _features(arrays, "image", self.carried["image"], what)
        if "text" in self.carried:
            sample["text_features"] = _features(arrays, "text", self.carried["text"], what)
        return sample

    def keep(self, rows: Sequence[int] | np.ndarray) -> None:
        picked = np.asarray(rows, dtype=np.int64)
        if not np.array_equal(picked, np.arange(len(self))):
            self._rows = np.asarray(self._rows)[picked]

    @property
    def ids(self) -> list[str]:
        """Keys of all samples, in their order; reads all shards."""
        return [self._read(int(row))["json"]["id"] for row in self._rows]

    @property
    def names(self) -> list[str]:
        """Texts of all samples, in their order; reads all shards."""
        return [self._read(int(row))["json"]["text"] for row in self._rows]

    @property
    def labels(self) -> Tensor:
        """(n,) labels of all samples, in their order; reads all shards."""
        return torch.tensor([self._read(int(row))["json"]["label"] for row in self._rows])

    @property
    def object_keys(self) -> np.ndarray | None:
        """(m,) int64, of the samples that are kept; of a folder with repeated samples, all."""
        if self._objects is None or len(self._objects) != len(self._positions):
            return self._objects
        return self._objects[np.asarray(self._rows)]

    def epoch_order(self, seed: int, epoch: int) -> np.ndarray:
        """(n,) the order of a training epoch; see `datasets.shards.order`."""
        order = epoch_order(self.counts, self.num_lanes, self.buffer, seed, epoch)
        if len(self._rows) == len(order):
            return order
        place = np.full(len(order), -1)
        place[np.asarray(self._rows)] = np.arange(len(self._rows))
        return place[order][place[order] >= 0]

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens its own; the index is mapped there, not copied.
        return {**self.__dict__, "_open": OrderedDict(), "_positions": None, "_objects": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._positions = read_index(self.folder, self._cache_root).positions
        self._objects = read_objects(self.folder)

    def __del__(self) -> None:
        for file in self.__dict__.get("_open", {}).values():
            os.close(file)

    def _find_size(self) -> int:
        """N of shards that do not say it; clouds of several sizes are found before a run, by the bytes they take."""
        _, firsts = np.unique(self._positions[:, SIZES.start], return_index=True)
        sizes = {len(self._read(int(row))["points.npy"]): int(row) for row in sorted(firsts)}
        if len(sizes) > 1:
            (one, a), (other, b), *_ = sizes.items()
            raise InputError(
                f"the clouds in '{self.folder}' differ in size: sample {a} has {one} points and sample {b} {other}; "
                "resample them to one number, so that they make batches"
            )
        return next(iter(sizes))

    def _read(self, index: int) -> dict[str, Any]:
        """The fields of a sample: arrays, and id, label and text under `json`."""
        row = self._positions[index]
        number, found = int(row[0]), 0
        if not 0 <= number < len(self._shards):
            raise InputError(f"the index of '{self.folder}' names shard {number}, which is not there; {REMEDY}")
        path, num_bytes = self._shards[number]
        fields: dict[str, Any] = {}
        places = zip(FIELDS, row[OFFSETS].tolist(), row[SIZES].tolist(), strict=True)
        for field, (name, offset, size) in enumerate(places):
            if not 0 <= size <= MAX_BYTES[field] or not 0 <= offset <= num_bytes - size:
                raise InputError(f"the index claims {size:,} bytes of '{name}' of sample {index} in '{path}'; {REMEDY}")
            if size:
                fields[name] = os.pread(self._file(number), size, offset)
                found ^= checksum(fields[name], field)
        if found != int(row[CHECKSUM]):
            raise InputError(f"sample {index} in shard '{path}' is damaged: its checksum is another one; {REMEDY}")
        notes = _parse_notes(fields.pop("json", b"{}"), f"sample {index} in shard '{path}'", f"{path.stem}-{index}")
        arrays = {name: parse_npy(data, f"'{name}' of sample {index} in '{path}'") for name, data in fields.items()}
        if FIELDS[0] not in arrays:
            raise InputError(f"sample {index} of '{path}' has no {FIELDS[0]} by the index; {REMEDY}")
        if not -1 <= notes["label"] < (self.num_classes or MAX_LABEL):
            raise InputError(f"sample {index} of '{path}' has the label {notes['label']}; {REMEDY}")
        return {**arrays, "json": notes}

    def _file(self, number: int) -> int:
        """The descriptor of a shard; the one that was not needed for the longest time is closed."""
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        path, _ = self._shards[number]
        try:
            self._open[number] = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise InputError(f"shard '{path}' cannot be opened ({error.strerror}); {REMEDY}") from error
        if len(self._open) > MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return self._open[number]


def _features(arrays: dict[str, Any], kind: str, known: CarriedInfo, what: str) -> Tensor:
    """The features of a teacher that come with a sample, as the index says they are."""
    values = arrays.get(f"{kind}.npy")
    if values is None or values.shape != (known["count"], known["dim"]):
        found = "none" if values is None else f"{values.shape}"
        raise InputError(
            f"{what} has {kind} features of shape {found}, but the index says ({known['count']}, {known['dim']}); "
            f"{REMEDY}"
        )
    if values.dtype.kind != "f" or not np.isfinite(values).all():
        raise InputError(f"{what} has {kind} features that are no finite numbers; {REMEDY}")
    return torch.from_numpy(values)


def _parse_notes(data: bytes, what: str, default_id: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
        notes = {"id": found.get("id", default_id), "label": found.get("label", -1), "text": found.get("text", "")}
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{what} has no valid JSON ({error}); {REMEDY}") from error
    types = {"id": str, "label": int, "text": str}
    if any(type(notes[name]) is not kind for name, kind in types.items()):
        raise InputError(f"{what} has {notes}, but id and text must be texts and label a whole number; {REMEDY}")
    return notes
