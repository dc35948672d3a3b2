"""The teacher cache: features of frozen teachers in an HDF5 file, by sample id. The format: datasets/README.md.

Features are kept as the teacher gave them, as int8 with one scale a vector. Normalising them is the loss's job.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from utils.errors import InputError, nearest
from utils.io import atomic_write, open_hdf5

FORMAT = "teacher features 1"
_REMEDY = "make the cache again with scripts/make_teacher_cache.py"


@dataclass
class ImageFeatures:
    """What an image teacher saw: n objects, V views each, view 0 the picture as it is.

    Attributes:
        ids: n keys.
        features: (n, V, D) float32.
        info: Where they come from: model, source, licence, preprocessing.
    """

    ids: list[str]
    features: np.ndarray
    info: dict[str, str] = field(default_factory=dict)


@dataclass
class TextFeatures:
    """What a text teacher read: each different name in P templates, each class name in Q templates.

    Attributes:
        ids: n keys.
        names: n names, one an id; equal names are stored once.
        name_features: {name: (P, D) float32}.
        templates: P sentences.
        class_names: C names, as the data set has them.
        class_features: (C, Q, D) float32.
        class_templates: Q sentences.
        info: Where they come from: model, source, licence, preprocessing.
    """

    ids: list[str]
    names: list[str]
    name_features: dict[str, np.ndarray]
    templates: list[str]
    class_names: list[str]
    class_features: np.ndarray
    class_templates: list[str]
    info: dict[str, str] = field(default_factory=dict)


class FeatureCache:
    """Reads a cache file. The tables are built once, at the start; a training step then only picks from them.

    Args:
        path: The HDF5 file.

    Raises:
        InputError: The file is missing, truncated or no teacher cache.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with open_hdf5(self.path) as file:
            if file.attrs.get("format") != FORMAT:
                raise InputError(f"'{self.path}' is no teacher cache ('{FORMAT}'); {_REMEDY}")
            self.info = {kind: {key: str(value) for key, value in file[kind].attrs.items()} for kind in file}

    def missing(self, kind: str, ids: Sequence[str]) -> list[str]:
        """Returns those of `ids` that the cache has no `image` or `text` features of.

        Raises:
            InputError: The cache has no such features at all.
        """
        with self._open(kind) as file:
            known = set(file[kind]["ids"].asstr()[:])
        return [name for name in ids if name not in known]

    def image_table(self, ids: Sequence[str], num_views: int | None = None) -> Tensor:
        """Returns the (n, V, D) float32 image features of `ids`, in their order; view 0 is the picture as it is.

        Raises:
            InputError: The cache has no image features, not those of an id, or fewer views.
        """
        with self._open("image") as file:
            group = file["image"]
            rows = self._rows(group, ids)
            return _read_vectors(group, "", rows)[:, : self._count("num_views", num_views, group["features"].shape[1])]

    def name_table(self, ids: Sequence[str], num_prompts: int | None = None) -> tuple[Tensor, Tensor]:
        """Returns the text features of the names of `ids`; objects of one name share them.

        Returns:
            (U, P, D) float32, one row a different name, one column a template; and (n,) int64, the row of each id.

        Raises:
            InputError: The cache has no text features, not those of an id, or fewer templates.
        """
        with self._open("text") as file:
            group = file["text"]
            names, rows = np.unique(group["name_index"][:][self._rows(group, ids)], return_inverse=True)
            count = self._count("num_prompts", num_prompts, group["features"].shape[1])
            return _read_vectors(group, "", names)[:, :count], torch.from_numpy(rows.astype(np.int64))

    def text_table(self, ids: Sequence[str], num_prompts: int | None = None) -> Tensor:
        """Returns the (n, P, D) float32 text features of the names of `ids`, in their order; see `name_table`."""
        table, rows = self.name_table(ids, num_prompts)
        return table[rows]

    def class_table(self, class_names: Sequence[str]) -> Tensor:
        """Returns the (C, Q, D) float32 text features of classes, in their order, one a template.

        Raises:
            InputError: The cache has no text features, or not those of a class.
        """
        with self._open("text") as file:
            group = file["text"]
            row_of = {name: row for row, name in enumerate(group["class_names"].asstr()[:])}
            for name in class_names:
                if name not in row_of:
                    raise InputError(
                        f"'{self.path}' has no prompts for class '{name}'; {nearest(name, row_of)} or {_REMEDY}"
                    )
            return _read_vectors(group, "class_", np.array([row_of[name] for name in class_names]))

    def templates(self) -> list[str]:
        """Returns the sentences that `text_table` has, in its order."""
        with self._open("text") as file:
            return list(file["text/templates"].asstr()[:])

    def _open(self, kind: str) -> h5py.File:
        if kind not in self.info:
            raise InputError(f"'{self.path}' has no {kind} features; switch that teacher off, or {_REMEDY}")
        return open_hdf5(self.path)

    def _rows(self, group: h5py.Group, ids: Sequence[str]) -> np.ndarray:
        row_of = {name: row for row, name in enumerate(group["ids"].asstr()[:])}
        missing = [name for name in ids if name not in row_of]
        if missing:
            raise InputError(
                f"'{self.path}' lacks the features of {len(missing)} of {len(ids)} objects, first '{missing[0]}'; "
                f"{_REMEDY}, or set teachers.image.path and teachers.text.path to the cache of this data set"
            )
        return np.array([row_of[name] for name in ids], dtype=np.int64)

    def _count(self, what: str, wanted: int | None, available: int) -> int:
        if wanted is not None and not 1 <= wanted <= available:
            raise InputError(f"{what} is {wanted}, but '{self.path}' has {available}; use 1 to {available}, or null")
        return available if wanted is None else wanted


def write_features(path: str | Path, image: ImageFeatures | None = None, text: TextFeatures | None = None) -> None:
    """Writes a cache file, atomically; the same features give the same bytes."""
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        if image is not None:
            group = file.create_group("image")
            _write_strings(group, "ids", image.ids)
            _write_vectors(group, "", image.features)
            _write_info(group, image.info)
        if text is not None:
            group = file.create_group("text")
            unique = sorted(set(text.names))
            row_of = {name: row for row, name in enumerate(unique)}
            _write_strings(group, "ids", text.ids)
            _write_strings(group, "names", unique)
            group["name_index"] = np.array([row_of[name] for name in text.names], dtype=np.int32)
            _write_vectors(group, "", np.stack([text.name_features[name] for name in unique]))
            _write_strings(group, "templates", text.templates)
            _write_strings(group, "class_names", text.class_names)
            _write_vectors(group, "class_", text.class_features)
            _write_strings(group, "class_templates", text.class_templates)
            _write_info(group, text.info)


def quantize(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds vectors to int8, each with the scale that its largest element needs.

    Args:
        vectors: (..., D) float32, finite.

    Returns:
        (..., D) int8 in -127..127 and the (...) float32 scale; their product is the vector.
    """
    assert np.isfinite(vectors).all(), "features must be finite"
    scale = np.abs(vectors).max(-1) / 127
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.rint(vectors / scale[..., None]).astype(np.int8), scale


def _write_vectors(group: h5py.Group, prefix: str, vectors: np.ndarray) -> None:
    values, scale = quantize(vectors)
    chunks = (min(64, len(values)), *values.shape[1:])
    group.create_dataset(f"{prefix}features", data=values, chunks=chunks, compression="gzip", compression_opts=9)
    group[f"{prefix}scale"] = scale


def _write_info(group: h5py.Group, info: dict[str, str]) -> None:
    for key, value in info.items():
        group.attrs[key] = str(value)  # HDF5 takes no subclass of str, such as torch's version


def _write_strings(group: h5py.Group, name: str, values: Sequence[str]) -> None:
    group.create_dataset(name, data=list(values), dtype=h5py.string_dtype())


def _read_vectors(group: h5py.Group, prefix: str, rows: np.ndarray) -> Tensor:
    try:
        values, scale = group[f"{prefix}features"][:], group[f"{prefix}scale"][:]
    except (OSError, KeyError) as error:
        raise InputError(f"'{group.file.filename}' is damaged: {error}; {_REMEDY}") from error
    return torch.from_numpy(values[rows].astype(np.float32) * scale[rows][..., None])
