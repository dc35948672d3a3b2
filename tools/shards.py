"""Writes a data set into shards, with the features of its teachers: scripts/prepare_data.py shards.

Shape legend: n samples, V views, P prompts, D feature width.
"""

import functools
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.packed.places import alone
from pointrecon.datasets.shards.index import INDEX, OBJECTS, PLAN, list_shards, scan_shard, write_index
from pointrecon.tools.build import build_dataset
from pointrecon.tools.context import Standalone, find_device
from pointrecon.tools.protocol import has_quirk
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks.start import keys_of
from pointrecon.tools.teachers.caches import KINDS, leave_out_unseen, make_missing, open_cache, section_of
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, read_json, write_json
from pointrecon.utils.log import make_logger, progress_bar

SHARD_SIZE = 1000
NUM_COMPARED = 64  # samples by which a folder of shards is found to be of the same data


@dataclass
class Carried:
    """Features of one kind that are to be written beside the points.

    Attributes:
        table: (U, V or P, D).
        rows: (n,) which of the U each sample has.
        info: Where they come from.
    """

    table: torch.Tensor
    rows: torch.Tensor
    info: dict[str, str]

    @property
    def summary(self) -> dict[str, Any]:
        """What index.json says of them."""
        share = self.rows.bincount(minlength=len(self.table)).double() / len(self.rows)
        mean = (self.table.double().mean(dim=1) * share[:, None]).sum(dim=0)
        return {"count": self.table.shape[1], "dim": self.table.shape[2], "mean": mean.tolist(), "info": self.info}


def make_shards(cfg: Settings, out: Path, splits: Sequence[str], shard_size: int = SHARD_SIZE) -> dict[str, int]:
    """Writes <out>/<split>/<split>-000000.tar, ... and an index for each split.

    Whatever is there already, from a call that was interrupted, stays: a shard is there whole or not at all.

    Args:
        cfg: the whole config: its data set, its teachers' caches (made first where they are missing), its seed, which
            orders the samples.
        out: folder.
        splits: of the data set.
        shard_size: samples of a shard.

    Returns:
        number of samples by split.

    Raises:
        InputError: the folder has shards of something else, or the data set or a cache cannot be read.
    """
    if shard_size < 1:
        raise InputError(f"--shard_size is {shard_size}, but must be at least 1")
    # For teachers that make a cache.
    ctx = Standalone(find_device(cfg["device"]), make_logger())
    counts = {}
    for split in splits:
        whole = {"whole": True} if split == "pretrain" and has_quirk(cfg, "whole_shapenet") else {}
        dataset = build_dataset(cfg, split, shots=None, **whole)
        make_missing(cfg, dataset, ctx)
        if cfg["data"]["on_error"] == "skip":
            leave_out_unseen(cfg, dataset, ctx)
        kinds = [kind for kind in KINDS if cfg["teachers"][kind] is not None]
        features = {kind: read_features(cfg, kind, dataset) for kind in kinds}
        info = {
            "num_points": len(dataset[0]["points"]),
            "class_names": list(dataset.class_names),
            "class_texts": list(dataset.class_texts),
            "is_fps_ordered": dataset.is_fps_ordered,
            "source": {"type": cfg["data"]["type"], "split": split, "seed": cfg["seed"], **whole},
            **{kind: carried.summary for kind, carried in features.items()},
        }
        order = np.random.RandomState(cfg["seed"]).permutation(len(dataset))
        names = [dataset.ids[row] for row in order]
        encode = functools.partial(_encode, dataset, features, order)
        keys = keys_of(cfg["data"], dataset)
        if keys is not None and len(keys) == len(order):
            keys = keys[order]
        content = _digest_samples(encode, len(names))
        write_split(out / split, split, encode, names, shard_size, info, content=content, objects=keys)
        counts[split] = len(dataset)
    return counts


def read_features(cfg: Settings, kind: str, dataset: PointCloudDataset) -> Carried:
    """The cached features of all samples, as many views or prompts as the config draws among."""
    cache, teacher = open_cache(cfg, kind, dataset), section_of(cfg, kind)
    if kind == "text":
        table, rows = cache.name_table(dataset.ids, teacher["num_prompts"])
    else:
        table = cache.image_table(dataset.ids, teacher["num_views"], cache.image_dtype)
        rows = torch.arange(len(table))
    half = table.half()
    # Half the space where nothing is lost by it.
    return Carried(half if torch.equal(half.to(table.dtype), table) else table, rows, dict(cache.info[kind]))


def write_split(
    folder: Path,
    prefix: str,
    encode: Callable[[int], dict[str, bytes]],
    names: Sequence[str],
    shard_size: int,
    info: dict[str, Any],
    *,
    content: str = "",
    objects: np.ndarray | None = None,
) -> None:
    """Writes the shards of a split and, last of all, their index. Of several processes one writes; the others wait.

    Args:
        folder: Where to.
        prefix: What the names of the shards begin with.
        encode: Number of a sample, from 0 -> its members by ending.
        names: n ids, in the same order.
        shard_size: Samples of a shard.
        info: For index.json.
        content: A digest of what is in the samples; other content needs another folder.
        objects: (n,) int64 numbers of the objects; None: nobody knows which they are.

    Raises:
        InputError: The folder has shards of something else, or cannot be written.
    """
    plan = {"shard_size": shard_size, "num_samples": len(names), "ids": _digest(names), "info": _digest(info)}
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder, f"the shards in '{folder}'"):
        check_plan(folder, {**plan, "content": content, "about": info})
        if objects is not None and not (folder / OBJECTS).is_file():  # shards of earlier versions get it as well
            with atomic_write(folder / OBJECTS) as temporary:
                np.save(temporary, objects.astype(np.int64))
        if (folder / INDEX).is_file():
            return
        shards = {}
        for number, start in enumerate(progress_bar(range(0, len(names), shard_size), f"shards of '{prefix}'")):
            path = folder / f"{prefix}-{number:06d}.tar"
            keys = range(start, min(start + shard_size, len(names)))
            if not path.is_file():
                write_shard(path, keys, encode)
            shards[path.name] = scan_shard(path)
            if len(shards[path.name]) != len(keys):
                raise InputError(
                    f"shard '{path}' has {len(shards[path.name])} samples instead of {len(keys)}; remove it"
                )
        write_index(folder, info, shards)


def write_shard(path: Path, keys: Sequence[int], encode: Callable[[int], dict[str, bytes]]) -> None:
    """Writes one shard, whole or not at all; the same samples give the same bytes."""
    try:
        from webdataset import TarWriter
    except ImportError as error:
        raise InputError(
            "shards are written with the package webdataset; install it: pip install webdataset"
        ) from error

    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        with TarWriter(file, encoder=False, mtime=0) as writer:
            for key in keys:
                writer.write({"__key__": f"{key:09d}", **encode(key)})


def check_plan(folder: Path, plan: dict[str, Any]) -> None:
    """Notes what is being written into a folder, or looks whether it is the same.

    Raises:
        InputError: It is something else.
    """
    path = folder / PLAN
    if path.is_file():
        before = read_json(path)
        # Folders of earlier versions say less.
        if not isinstance(before, dict) or any(key in before and before[key] != plan[key] for key in plan):
            raise InputError(
                f"'{folder}' has shards of other data or options; give another --out or remove that folder"
            )
        return
    if list_shards(folder):
        raise InputError(f"'{folder}' has shards, but no {PLAN} says of what; give another --out")
    write_json(plan, path)


def encode_npy(values: np.ndarray) -> bytes:
    """The content of a .npy file."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(values), allow_pickle=False)
    return file.getvalue()


def _encode(
    dataset: PointCloudDataset, features: Mapping[str, Carried], order: np.ndarray, number: int
) -> dict[str, bytes]:
    row = int(order[number])
    sample = dataset[row]
    if sample["id"] != dataset.ids[row]:
        raise InputError(
            f"shape '{dataset.ids[row]}' cannot be read, and shards leave nothing out; set data.on_error=raise"
        )
    notes = {"id": sample["id"], "label": int(sample["label"]), "text": sample["text"]}
    members = {"points.npy": encode_npy(sample["points"].numpy()), "json": json.dumps(notes).encode()}
    for kind, carried in features.items():
        members[f"{kind}.npy"] = encode_npy(carried.table[carried.rows[row]].numpy())
    return members


def _digest_samples(encode: Callable[[int], dict[str, bytes]], count: int) -> str:
    """A digest of some samples, evenly spread: it changes with the data, or with options that change all of it."""
    digest = hashlib.sha256()
    for number in np.unique(np.linspace(0, count - 1, min(count, NUM_COMPARED)).astype(int)).tolist():
        for name, data in sorted(encode(number).items()):
            digest.update(name.encode() + data)
    return digest.hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
