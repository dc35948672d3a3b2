"""What is fuzzed of open-vocabulary files: shards of objects, zero-shot test sets in three layouts, indices, words.

Shape legend: n shapes, D feature width.
"""

import functools
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from pointrecon import words
from pointrecon.datasets.open.objects import KINDS, OpenObject, parse_object
from pointrecon.datasets.open.shards import OpenShards
from pointrecon.datasets.open.zero_shot import find_zero_shot_sets
from pointrecon.search import ShapeIndex
from pointrecon.tools.open.convert import convert
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.safe_pickle import load_npy_objects
from pointrecon.vectors import Vectors, find_nearest
from tests.datasets.open.layouts import MINI, make_ulip, make_uni3d, save_objects
from tests.fuzzing.forms import Form, WrongResult
from tests.fuzzing.mutations import spoil_bytes, spoil_leaf, spoil_safetensors, spoil_text, spoil_tree

JSON_VALUES = (None, True, 0, -1, 10**30, 0.5, "", "text", "../x", "a/../b", "\0", [], {}, [[[1]]], "x" * 500, 10**400)


def spoil_open(path: Path, rng: random.Random) -> None:
    """Changes objects, headers, lists or just bytes."""
    data = path.read_bytes()
    if rng.random() < 0.3:
        path.write_bytes(spoil_bytes(data, rng))
    elif path.suffix == ".npy":
        save_objects(path, spoil_tree(load_npy_objects(path), rng, spoil_leaf))
    elif path.suffix == ".safetensors":
        spoilt = spoil_safetensors(data, rng)
        # A file of another length is found out at once; what the manifest says of it may be made to fit.
        path.write_bytes((spoilt + bytes(len(data)))[: len(data)] if rng.random() < 0.5 else spoilt)
    elif path.suffix == ".json" and rng.random() < 0.7:
        tree = spoil_tree(json.loads(data), rng, lambda value, rng: rng.choice(JSON_VALUES))
        path.write_text(json.dumps(tree, default=str, skipkeys=True))
    else:
        path.write_text(spoil_text(data.decode(errors="replace"), rng), encoding="utf-8", errors="surrogatepass")


def check_object(one: OpenObject) -> None:
    """Looks at an object.

    Raises:
        WrongResult: Something in it is not of the right type, shape or range.
    """
    check_cloud(one.points, one.colors)
    is_right = one.views.ndim == 2 and 0 <= len(one.views) <= 13 and bool(np.isfinite(one.views).all())
    is_right &= len(one.texts) == len(one.kinds) == len(one.text_features)
    is_right &= all(isinstance(text, str) for text in (*one.texts, one.dataset, one.group, one.id))
    is_right &= bool((one.kinds < len(KINDS)).all() and np.isfinite(one.text_features).all())
    if not is_right:
        raise WrongResult("views or texts of an object cannot be")


def check_cloud(points: np.ndarray, colors: np.ndarray | None) -> None:
    """Looks at a cloud with colours."""
    if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
        raise WrongResult(f"points are {points.dtype} {points.shape}")
    if colors is not None and (colors.shape != points.shape or not 0 <= colors.min() <= colors.max() <= 1):
        raise WrongResult("colours are wrong")


def write_open_shards(folder: Path) -> None:
    """Two shards of five objects."""
    convert(MINI / "objaverse-processed", folder / "shards", shard_size=5)
    for path in (folder / "shards").glob("*.json"):
        if path.name != "manifest.json":
            path.unlink()


def read_open_shards(folder: Path) -> None:
    """Reads all objects of the shards."""
    shards = OpenShards(folder / "shards")
    for row in range(len(shards)):
        check_object(shards[row])


def write_object(folder: Path) -> None:
    """One object as it is distributed."""
    shutil.copy(sorted(MINI.rglob("*abc000.npy"))[0], folder / "a.npy")


def read_object(folder: Path) -> None:
    """Reads it."""
    check_object(parse_object(load_npy_objects(folder / "a.npy"), "'a.npy'"))


def write_openshape(folder: Path) -> None:
    """OpenShape's zero-shot sets."""
    shutil.copytree(MINI, folder / "mini")


def read_zero_shot(folder: Path) -> None:
    """Reads every object of every set."""
    for found in find_zero_shot_sets(folder, skip_missing=True):
        labels, features = found.labels, found.class_features
        is_right = len(found) == len(found.ids) and all(
            isinstance(name, str) for name in (*found.class_names, *found.ids)
        )
        is_right &= labels.dtype == np.int64 and (
            not len(labels) or 0 <= labels.min() <= labels.max() < len(found.class_names)
        )
        is_right &= features is None or (len(features) == len(found.class_names) and bool(np.isfinite(features).all()))
        if not is_right:
            raise WrongResult("labels, names or features of classes cannot be")
        for row in range(len(found)):
            check_cloud(*found.read(row))


def write_index(folder: Path, is_coded: bool) -> None:
    """An index of six shapes, or of as many as get codes of 8 bits."""
    draw = torch.Generator().manual_seed(0)
    with mock.patch("pointrecon.vectors.CODED_ROWS", 4 if is_coded else 1000):
        spaces = {name: Vectors.of(torch.randn(6, 8, generator=draw)) for name in ("shape", "text")}
        spaces["image"] = Vectors.of(torch.randn(6, 8, generator=draw), torch.eye(8)[:, :5])
    ShapeIndex([f"shape {row}" for row in range(6)], spaces, "f" * 32).save(folder / "a.safetensors")


def read_index(folder: Path) -> None:
    """Opens the index and searches in it."""
    index = ShapeIndex.load(folder / "a.safetensors")
    if not all(isinstance(name, str) for name in index.ids) or not isinstance(index.network, str):
        raise WrongResult("names are no texts")
    for vectors in index.spaces.values():
        width = vectors.rows.shape[1] if vectors.basis is None else len(vectors.basis)
        scores, rows = find_nearest([(vectors, vectors.query(torch.ones(width)), 1.0)], 3)
        if not vectors.is_sound(rows):
            raise InputError("search refuses such scores: the index is damaged")
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(index):
            raise WrongResult(f"scores {scores.tolist()} of rows {rows.tolist()}")
        if scores.abs().max() > 1.01:
            raise WrongResult(f"cosines of {scores.tolist()}")


def write_words(folder: Path) -> None:
    """A table of words."""
    from safetensors.numpy import save_file

    features = np.random.RandomState(0).randn(3, words.TABLE_WIDTH).astype(np.float16)
    save_file({"features": features}, folder / words.TABLE, {"words": json.dumps(["chair", "lamp", "table"])})


def read_words(folder: Path) -> None:
    """Reads the table."""
    with mock.patch.object(words, "WEIGHTS", folder), mock.patch.object(words, "CHECKOUT_WEIGHTS", folder):
        names, features = words.load_table.__wrapped__()
    if len(names) != len(features) or not all(isinstance(name, str) for name in names):
        raise WrongResult("words and features do not belong together")
    if features.dtype != np.float32 or features.ndim != 2 or not np.isfinite(features).all():
        raise WrongResult("features of words are wrong")


def _form(name: str, write: Callable[[Path], Any], read: Callable[[Path], None]) -> Form:
    return Form(name, write, read, spoil_open)


FORMS = (
    _form("open shards", write_open_shards, read_open_shards),
    _form("an object", write_object, read_object),
    _form("zero-shot, OpenShape", write_openshape, read_zero_shot),
    _form("zero-shot, Uni3D", make_uni3d, read_zero_shot),
    _form("zero-shot, ULIP-2", make_ulip, read_zero_shot),
    _form("index", functools.partial(write_index, is_coded=False), read_index),
    _form("index with codes", functools.partial(write_index, is_coded=True), read_index),
    _form("words", write_words, read_words),
)
