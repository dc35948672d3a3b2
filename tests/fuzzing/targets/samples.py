"""What is fuzzed of data sets of many samples: shards, with an index and without one, and DebShapes.

Shape legend: N points an object.
"""

import functools
import hashlib
import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pointrecon.datasets.opening import open_split
from pointrecon.datasets.sets.manifest import FIELDS, FORMAT, MANIFEST, POINTS, VIEWS
from pointrecon.datasets.shards.index import scan_shard, write_index
from pointrecon.datasets.splits import Choice
from tests.fuzzing.forms import Form, WrongResult
from tests.fuzzing.mutations import spoil_array, spoil_bytes, spoil_hdf5, spoil_text, spoil_tree
from tests.fuzzing.targets.datasets import NUM_POINTS, check_items, read_dataset
from tests.fuzzing.tars import spoil_tar

JSON_VALUES = (None, True, 0, -1, 10**30, 0.5, "", "text", "../x", "a/../b", "\0", [], {}, [[[1]]], "x" * 500, 10**400)


def _npy(values: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, values)
    return data.getvalue()


def _members(count: int, start: int, is_foreign: bool) -> list[tuple[str, bytes]]:
    """Names and contents of the samples of a shard."""
    random_state = np.random.RandomState(start)
    members = [("./", b"")] if is_foreign else []
    for row in range(start, start + count):
        key = f"./chair.{row}" if is_foreign else f"{row:06d}"
        notes = {"id": f"id{row}", "label": row % 2, "text": f"name {row}"}
        members.append((f"{key}.points.npy", _npy(random_state.randn(NUM_POINTS, 3).astype(np.float32))))
        members.append((f"{key}.json", json.dumps(notes).encode()))
        if is_foreign:
            members.append((f"{key}.png", b"something else"))
            continue
        members.append((f"{key}.image.npy", _npy(random_state.randn(2, 5).astype(np.float16))))
        members.append((f"{key}.text.npy", _npy(random_state.randn(3, 5).astype(np.float32))))
    return members


def write_shards(folder: Path, style: str) -> None:
    """Two shards of three samples: `ours` with an index, `bare` without one, `foreign` as other programs write them."""
    folder = folder / "shards" / "train"
    folder.mkdir(parents=True)
    paths = [folder / f"train-{number:06d}.tar" for number in range(2)]
    for number, path in enumerate(paths):
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, content in _members(3, 3 * number, style == "foreign"):
                info = tarfile.TarInfo(name)
                info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    if style == "ours":
        known = {"dim": 5, "mean": [0.0] * 5, "info": {"teacher.type": "t"}}
        names = {"class_names": ["a", "b"], "class_texts": ["an a", "a b"], "num_points": NUM_POINTS}
        info = {**names, "is_fps_ordered": True, "image": {**known, "count": 2}, "text": {**known, "count": 3}}
        write_index(folder, info, {path.name: scan_shard(path) for path in paths})


def spoil_shards(path: Path, rng: random.Random) -> None:
    """Changes members, headers, the index or just bytes."""
    data = path.read_bytes()
    if rng.random() < 0.2:
        path.write_bytes(spoil_bytes(data, rng))
    elif path.suffix == ".tar":
        spoilt = spoil_tar(data, rng, spoil_member)
        # A shard of another length is found out at once; what the index says of it may be made to fit.
        index = path.with_name("index.json")
        if index.is_file() and rng.random() < 0.5:
            spoilt = (spoilt + bytes(len(data)))[: len(data)]
        path.write_bytes(spoilt)
    elif path.suffix == ".npy":
        np.save(path, np.asarray(spoil_array(np.load(path), rng)))
    elif rng.random() < 0.7:
        tree = spoil_tree(json.loads(data), rng, lambda value, rng: rng.choice(JSON_VALUES))
        path.write_text(json.dumps(tree, default=str, skipkeys=True))
    else:
        path.write_text(spoil_text(data.decode(), rng), encoding="utf-8", errors="surrogatepass")


def spoil_member(name: str, content: bytes, rng: random.Random) -> bytes:
    """Changes what is in a member of a shard."""
    kind = rng.random()
    if kind < 0.3 or not name.endswith((".npy", ".json")):
        return spoil_bytes(content, rng)
    if name.endswith(".npy"):
        if kind < 0.6:
            return _npy(np.asarray(spoil_array(np.load(io.BytesIO(content)), rng)))
        text = spoil_text(content[10:128].decode("latin1"), rng).encode("utf-8", "replace")[:60000]
        return content[:8] + len(text).to_bytes(2, "little") + text + content[128:]
    if kind < 0.7:
        tree = spoil_tree(json.loads(content), rng, lambda value, rng: rng.choice(JSON_VALUES))
        return json.dumps(tree, default=str, skipkeys=True).encode()
    return spoil_text(content.decode(), rng).encode("utf-8", "surrogatepass")


def read_shards(folder: Path) -> None:
    """Reads all samples of the shards, their features, and the order of an epoch."""
    dataset: Any = open_split("Shards", str(folder), Choice(split="train"), {"num_lanes": 2, "buffer": 2})
    check_items(dataset, None)
    order = dataset.epoch_order(0, 1)
    if sorted(order.tolist()) != list(range(len(dataset))):
        raise WrongResult("the order of an epoch is none")
    for row in range(len(dataset)):
        sample = dataset[row]
        for kind, known in dataset.carried.items():
            values = sample[f"{kind}_features"]
            if tuple(values.shape) != (known["count"], known["dim"]) or not values.isfinite().all():
                raise WrongResult(f"{kind} features are {values.dtype} {tuple(values.shape)}")


def write_debshapes(folder: Path) -> None:
    """DebShapes in miniature: 6 shapes of two sources with 2 pictures each."""
    from PIL import Image

    folder = folder / "debshapes"
    folder.mkdir()
    pictures = []
    for number in range(12):
        data = io.BytesIO()
        Image.new("RGB", (8, 8), (20 * number, 100, 0)).save(data, "webp")
        pictures.append(data.getvalue())
    rows = [
        {name: f"{name} {row}" for name in FIELDS} | {"id": f"{'ab'[row % 2]}:{row}", "text": f"name {row}"}
        for row in range(6)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / MANIFEST).write_text(text)
    with h5py.File(folder / POINTS, "w") as file:
        file["points"] = np.random.RandomState(0).randn(6, NUM_POINTS, 3).astype(np.float16)
    with h5py.File(folder / VIEWS, "w") as file:
        file["webp"] = np.frombuffer(b"".join(pictures), np.uint8)
        file["ends"] = np.cumsum([len(picture) for picture in pictures]).reshape(6, 2)
    _stamp(folder)


def _stamp(folder: Path) -> None:
    """Lets the other files belong to the manifest as it is."""
    key = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    for name in (POINTS, VIEWS):
        with h5py.File(folder / name, "a") as file:
            file.attrs.update(format=FORMAT, manifest=key)


def spoil_debshapes(path: Path, rng: random.Random) -> None:
    """Changes rows of the manifest, arrays, pictures or just bytes; the files mostly still belong to each other."""
    data = path.read_bytes()
    if path.name == MANIFEST:
        lines = data.splitlines()
        place = rng.randrange(len(lines))
        if rng.random() < 0.6:
            tree = spoil_tree(json.loads(lines[place]), rng, lambda value, rng: rng.choice(JSON_VALUES))
            lines[place] = json.dumps(tree, default=str, skipkeys=True).encode()
        else:
            lines[place] = spoil_text(lines[place].decode(), rng).encode("utf-8", "surrogatepass")
        if rng.random() < 0.2:
            rng.choice((lines.append, lambda line: lines.remove(line)))(lines[rng.randrange(len(lines))])
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        if rng.random() < 0.8:
            _stamp(path.parent)
    elif rng.random() < 0.4:
        path.write_bytes(spoil_bytes(data, rng))
    else:
        spoil_hdf5(path, rng)


def _form(style: str) -> Form:
    return Form(f"shards, {style}", functools.partial(write_shards, style=style), read_shards, spoil_shards)


SHARD_FORMS = tuple(_form(style) for style in ("ours", "bare", "foreign"))
DEBSHAPES_FORMS = (
    Form(
        "DebShapes",
        write_debshapes,
        read_dataset("DebShapes", ("pretrain", "test"), images=True, view=1),
        spoil_debshapes,
    ),
    Form("one source", write_debshapes, read_dataset("DebShapes", ("pretrain",), sources=["a"]), spoil_debshapes),
)
