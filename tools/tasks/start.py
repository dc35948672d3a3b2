"""What a run starts from: a checkpoint that is read once, and the objects that its network has been trained on."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.tools.build import build_dataset
from pointrecon.tools.checkpoints.checkpoint import read_checkpoint
from pointrecon.tools.evaluators.suite import undisturbed
from pointrecon.tools.protocol import has_quirk
from pointrecon.tools.settings import DataSettings, Settings
from pointrecon.utils.config import complete_config
from pointrecon.utils.errors import InputError

# Data sets that hold the same objects under the same ids, but for how these are written.
FAMILIES = {
    **{"ModelNet10": "ModelNet", "ModelNet40": "ModelNet", "DebShapesClasses": "DebShapes"},
    **{
        "ShapeNet55": "ShapeNet",
        "ShapeNetPart": "ShapeNet",
        "ObjaverseLVIS": "OpenShape",
        "OpenModelNet40": "ModelNet",
    },
}
TRAINING_SPLITS = {"pretrain": "pretrain", "classify": "train", "segment": "train"}


class SeenObjects:
    """Objects that a network has been trained on, as numbers made from their ids.

    Args:
        keys: (n,) int64, of `object_keys`.
        unknown: data that it has been trained on as well, whose files do not say which objects they hold.
    """

    def __init__(self, keys: np.ndarray | None = None, unknown: Iterable[str] = ()) -> None:
        self.keys = np.unique(np.zeros(0, dtype=np.int64) if keys is None else keys)
        self.unknown = set(unknown)

    def add(self, data: DataSettings, dataset: PointCloudDataset) -> None:
        """Adds the objects of a training split."""
        keys = keys_of(data, dataset)
        if keys is not None:
            self.keys = np.union1d(self.keys, keys)
        if not dataset.knows_objects:
            self.unknown.add(name_source(data))

    def count(self, keys: np.ndarray) -> int:
        """How many of the objects with these numbers are among them."""
        return int(np.isin(keys, self.keys).sum())

    def to_tensor(self) -> Tensor:
        """(n,) int64, for a checkpoint."""
        return torch.from_numpy(self.keys)


@dataclass
class Start:
    """A checkpoint as the start of a run.

    Attributes:
        content: of `read_checkpoint`; emptied once the weights have been taken.
        seen: the objects that it has been trained on, as far as it tells.
        info: path, sha256 and epoch, for result.json.
    """

    content: dict[str, Any]
    seen: SeenObjects
    info: dict[str, Any]


def read_start(cfg: Settings) -> Start | None:
    """Reads the checkpoint that `init` names; None if the run starts from random weights.

    Raises:
        InputError: it cannot be read.
    """
    path = cfg["init"]
    if not path:
        return None
    content = read_checkpoint(path)
    info = {"path": str(path), "sha256": _hash_file(Path(path)), "epoch": content.get("epoch")}
    return Start(content, seen_by(content, cfg), info)


def seen_by(content: Mapping[str, Any], cfg: Settings) -> SeenObjects:
    """The objects that a checkpoint has been trained on: those that it lists or, in an older one, its config names.

    Args:
        content: of `read_checkpoint`.
        cfg: the whole config of this run, which says where the data are.
    """
    keys, unknown, saved = content.get("seen_objects"), content.get("seen_unknown"), content.get("config")
    if isinstance(keys, Tensor) and keys.dtype == torch.int64:
        if isinstance(unknown, list):
            return SeenObjects(keys.flatten().numpy(), map(str, unknown))
        return SeenObjects(keys.flatten().numpy(), _silent_source(saved))  # of an earlier version
    seen = SeenObjects()
    if not isinstance(saved, Mapping) or saved.get("task") not in TRAINING_SPLITS:
        return seen
    try:
        theirs = complete_config({**saved, "data_root": cfg["data_root"]}, "the config in the checkpoint")
        # Only where this run reads the same data set: another one need not be here.
        if theirs["data"]["type"] == cfg["data"]["type"]:
            whole = {"whole": True} if has_quirk(theirs, "whole_shapenet") else {}
            with undisturbed():
                seen.add(theirs["data"], build_dataset(theirs, TRAINING_SPLITS[saved["task"]], **whole))
    except InputError:  # a config of another version: it does not tell
        return seen
    return seen


def keys_of(data: Mapping[str, Any] | DataSettings, dataset: PointCloudDataset) -> np.ndarray | None:
    """(m,) int64, a number for each object; None where they are not known without reading all of them."""
    if dataset.object_keys is not None:
        return dataset.object_keys
    members = dataset.members or ([(data, dataset.ids)] if dataset.may_pick else [])
    keys = [object_keys(theirs, ids) for theirs, ids in members]
    return np.concatenate(keys) if keys else None


def name_source(data: Mapping[str, Any] | DataSettings) -> str:
    """A data set in words: its type and what says which part of it."""
    options = {key: data.get(key) for key in ("root", "fold", "way", "shots") if data.get(key) is not None}
    text = ", ".join(f"{key}={value}" for key, value in {**options, **(data.get("options") or {})}.items())
    return f"{data['type']} ({text})" if text else str(data["type"])


def _silent_source(saved: Any) -> list[str]:
    """What a checkpoint that has no word on it was trained on, if such data did not say which objects they hold."""
    data = saved.get("data") if isinstance(saved, Mapping) else None
    if not isinstance(data, Mapping) or data.get("type") not in ("Shards", "ModelNetFewShot"):
        return []
    return [name_source(data)] if isinstance(data.get("options") or {}, Mapping) else []


def object_keys(data: Mapping[str, Any] | DataSettings, ids: Iterable[str]) -> np.ndarray:
    """(n,) int64, a number for each object: equal where the data set and the id are or, of own files, the path."""
    kind = FAMILIES.get(data["type"], data["type"])
    where = ""
    if kind == "Folder":
        place = Path(data.get("root") or data["options"].get("root", "")).expanduser().resolve()
        folder = place.parent if place.suffix.lower() == ".csv" else place  # the ids of a table are paths beside it
        ids = [os.path.normpath(folder / key) for key in ids]
    elif kind == "OpenShape":
        ids = [key.rpartition("/")[2] for key in ids]  # without the set and its folder
    elif kind == "ShapeNet":
        ids = [key.removeprefix("shape_data/").replace("/", "-") for key in ids]
    digests = [hashlib.blake2b(f"{kind}\0{where}\0{key}".encode(), digest_size=8).digest() for key in ids]
    return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
