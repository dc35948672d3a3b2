"""Writes a teacher cache. The format: datasets/README.md."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from pointrecon.datasets.teacher_cache.reader import FORMAT, made_of_hash
from pointrecon.utils.files.io import atomic_write

CHUNK_BYTES = 1 << 16  # what reading one vector costs, and enough for reading one after the other
MAX_LOSS = 2**-10  # half precision has 11 bits
_BUFFER_BYTES = 1 << 26


@dataclass
class ImageFeatures:
    """What an image teacher saw: n objects, V views each, view 0 the picture as it is.

    Attributes:
        ids: n keys.
        blocks: The features in the order of the ids, in pieces (b, V, D); they are read once, one at a time.
        info: Where they come from; see `datasets.features.MADE_OF`.
    """

    ids: Sequence[str]
    blocks: Iterable[np.ndarray]
    info: Mapping[str, str] = field(default_factory=dict)


@dataclass
class TextFeatures:
    """What a text teacher read: each different name in P templates, each class name in Q templates.

    Attributes:
        ids: n keys.
        names: n names, one an id; equal names are stored once.
        features: (U, P, D) float32, one row a different name, in sorted order.
        templates: P sentences.
        class_names: C names, as the data set has them.
        class_features: (C, Q, D) float32.
        class_templates: Q sentences.
        info: Where they come from; see `datasets.features.MADE_OF`.
    """

    ids: Sequence[str]
    names: Sequence[str]
    features: np.ndarray
    templates: Sequence[str]
    class_names: Sequence[str]
    class_features: np.ndarray
    class_templates: Sequence[str]
    info: Mapping[str, str] = field(default_factory=dict)


def write_features(
    path: str | Path,
    image: ImageFeatures | None = None,
    text: TextFeatures | None = None,
    sample: ImageFeatures | None = None,
) -> None:
    """Writes a cache file, atomically; the same features give the same bytes.

    Args:
        path: The file.
        image: What an image teacher saw.
        text: What a text teacher read.
        sample: What a teacher of whole samples said: V targets of each, those that are all zero are none.
    """
    with atomic_write(path) as temporary, h5py.File(temporary, "w", rdcc_nbytes=_BUFFER_BYTES) as file:
        file.attrs["format"] = FORMAT
        for kind, features in (("image", image), ("sample", sample)):
            if features is not None:
                group = file.create_group(kind)
                _write_strings(group, "ids", features.ids)
                _write_blocks(group, len(features.ids), features.blocks)
                _write_info(group, features.info)
        if text is not None:
            group = file.create_group("text")
            if image is not None and list(image.ids) == list(text.ids):
                group["ids"] = file["image/ids"]  # one more name for the same list
            else:
                _write_strings(group, "ids", text.ids)
            _write_text(group, text)
            _write_info(group, text.info)


def _write_text(group: h5py.Group, text: TextFeatures) -> None:
    unique = sorted(set(text.names))
    row_of = {name: row for row, name in enumerate(unique)}
    assert len(unique) == len(text.features), "one row of features for each different name"
    _write_strings(group, "names", unique)
    group["name_index"] = np.array([row_of[name] for name in text.names], dtype=np.int32)
    for name, values in (("features", text.features), ("class_features", text.class_features)):
        # All prompts of a name; a data set may have no classes at all.
        chunks = (1, *values.shape[1:]) if len(values) else None
        group.create_dataset(name, data=values.astype(np.float32), chunks=chunks)
    _write_strings(group, "templates", text.templates)
    _write_strings(group, "class_names", text.class_names)
    _write_strings(group, "class_templates", text.class_templates)


def _write_blocks(group: h5py.Group, count: int, blocks: Iterable[np.ndarray]) -> None:
    """One view a chunk: a run that uses a part of the views reads a part of the file, and a vector is read alone.

    Half precision, which is enough for the features of most teachers; float32 as soon as it is not.
    """
    stored: h5py.Dataset | None = None
    start = 0
    for block in blocks:
        assert np.isfinite(block).all(), "features must be finite"
        dtype = np.float16 if fits_half(block) else np.float32
        if stored is None:
            stored = _make_room(group, (count, *block.shape[1:]), dtype)
        elif stored.dtype == np.float16 and dtype == np.float32:
            group.move("features", "short")
            stored = _make_room(group, (count, *block.shape[1:]), dtype)
            for first in range(0, start, len(block)):
                stored[first : min(start, first + len(block))] = group["short"][first : min(start, first + len(block))]
            del group["short"]
        stored[start : start + len(block)] = block.astype(stored.dtype)
        start += len(block)
    assert start == count, "as many features as ids"


def _make_room(group: h5py.Group, shape: tuple[int, ...], dtype: type) -> h5py.Dataset:
    rows = max(1, min(shape[0], CHUNK_BYTES // (np.dtype(dtype).itemsize * shape[2])))
    return group.create_dataset("features", shape, dtype, chunks=(rows, 1, shape[2]))


def fits_half(values: np.ndarray) -> bool:
    """Whether half precision moves no vector (the last axis) by more than `MAX_LOSS` of its largest number."""
    with np.errstate(over="ignore"):
        lost = np.abs(values.astype(np.float16).astype(np.float32) - values)
    return bool((lost.max(axis=-1) <= MAX_LOSS * np.abs(values).max(axis=-1)).all())


def _write_info(group: h5py.Group, info: Mapping[str, str]) -> None:
    for key, value in info.items():
        group.attrs[key] = str(value)  # HDF5 takes no subclass of str, such as torch's version
    group.attrs["hash"] = made_of_hash(info)


def _write_strings(group: h5py.Group, name: str, values: Sequence[str]) -> None:
    encoded = [value.encode() for value in values]
    # All of one length: one block on the disk instead of a heap of small ones.
    dtype = h5py.string_dtype(length=max([1, *map(len, encoded)]))
    group.create_dataset(name, data=np.array(encoded, dtype=dtype))
