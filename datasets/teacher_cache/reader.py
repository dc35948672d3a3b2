"""The teacher cache: features of frozen teachers in an HDF5 file, by sample id. The format: datasets/README.md.

Features are kept as the teacher gave them. Normalising them is the loss's job.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from pointrecon.utils.errors import InputError, nearest
from pointrecon.utils.files.io import open_hdf5

FORMAT = "teacher features 2"
OLD_FORMAT = "teacher features 1"  # int8 with one scale a vector; still read
MAX_FEATURE = 1e30  # features and scales; larger ones are damage, and their products overflow
REMEDY = "make the cache again with scripts/cache_teacher_features.py"
# What decides the numbers in a cache; the other attributes of its groups say where it comes from.
MADE_OF = ("teacher.", "transform.", "prompts.")
_OLD_KEYS = {"type": "teacher.type", "model": "teacher.model", "pretrained": "teacher.pretrained"}


class FeatureCache:
    """Reads a cache file. The tables are built once, at the start; a training step then only picks from them.

    Args:
        path: The HDF5 file.

    Attributes:
        info: What is noted of the `image` and `text` features: the teacher, the transform or the prompts, the licence.
        hashes: One of each kind over what it was made of; empty texts in files of the old format.
        image_dtype: The type that image features are stored in: what of it a table needs to keep every bit.

    Raises:
        InputError: The file is missing, truncated or no teacher cache.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with open_hdf5(self.path) as file:
            self.format = file.attrs.get("format")
            if self.format not in (FORMAT, OLD_FORMAT):
                raise InputError(f"'{self.path}' is no teacher cache ('{FORMAT}'); {REMEDY}")
            is_short = all(file[kind]["features"].dtype == np.float16 for kind in file if kind != "text")
            notes = {kind: {key: str(value) for key, value in file[kind].attrs.items()} for kind in file}
        self.hashes = {kind: note.pop("hash", "") for kind, note in notes.items()}
        self.info = {kind: {_OLD_KEYS.get(key, key): note[key] for key in note} for kind, note in notes.items()}
        self.image_dtype = torch.float16 if self.format == FORMAT and is_short else torch.float32

    def missing(self, kind: str, ids: Sequence[str]) -> list[str]:
        """Returns those of `ids` that the cache has no `image` or `text` features of.

        Raises:
            InputError: The cache has no such features at all.
        """
        known = set(self.ids(kind))
        return [name for name in ids if name not in known]

    def ids(self, kind: str) -> list[str]:
        """Keys of the samples that it has `image` or `text` features of, in its order.

        Raises:
            InputError: The cache has no such features.
        """
        with self._open(kind) as file:
            return list(file[kind]["ids"].asstr()[:])

    def width(self, kind: str) -> int:
        """D of the `image` or `text` features.

        Raises:
            InputError: The cache has no such features.
        """
        with self._open(kind) as file:
            return int(file[kind]["features"].shape[-1])

    def image_table(
        self,
        ids: Sequence[str],
        num_views: int | None = None,
        dtype: torch.dtype = torch.float32,
        kind: str = "image",
    ) -> Tensor:
        """Returns the (n, V, D) image features of `ids`, in their order; view 0 is the picture as it is.

        Args:
            ids: n keys.
            num_views: V, the first ones; None: all.
            dtype: of the table; `image_dtype` takes half the memory of float32 and loses nothing.
            kind: `sample` for the features of whole samples, whose V are the targets of a sample.

        Raises:
            InputError: The cache has no image features, not those of an id, or fewer views.
        """
        with self._open(kind) as file:
            group = file[kind]
            rows = self._rows(group, ids)
            count = self._count("num_views", num_views, group["features"].shape[1])
            return _read_vectors(group, "", rows, count).to(dtype)

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
            if names.min(initial=0) < 0:
                raise InputError(f"'{self.path}' is damaged: it has the name {names.min()}; {REMEDY}")
            count = self._count("num_prompts", num_prompts, group["features"].shape[1])
            return _read_vectors(group, "", names, count), torch.from_numpy(rows.astype(np.int64))

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
                        f"'{self.path}' has no prompts for class '{name}'; {nearest(name, row_of)} or {REMEDY}"
                    )
            return _read_vectors(group, "class_", np.array([row_of[name] for name in class_names]))

    def templates(self) -> list[str]:
        """Returns the sentences that `text_table` has, in its order."""
        with self._open("text") as file:
            return list(file["text/templates"].asstr()[:])

    def differences(self, kind: str, wanted: Mapping[str, str]) -> list[str]:
        """Says where the `image` or `text` features are not what is wanted.

        Args:
            kind: `image` or `text`.
            wanted: As in `info`; what one of the two does not say is not compared.

        Returns:
            "key: given A, cache B" for each difference.
        """
        made = self.info.get(kind, {})
        return [
            f"{key}: given {_shorten(value)}, cache {_shorten(made[key])}"
            for key, value in wanted.items()
            if key in made and made[key] != value
        ]

    def _open(self, kind: str) -> h5py.File:
        if kind not in self.info:
            raise InputError(f"'{self.path}' has no {kind} features; switch that teacher off, or {REMEDY}")
        return open_hdf5(self.path)

    def _rows(self, group: h5py.Group, ids: Sequence[str]) -> np.ndarray:
        row_of = {name: row for row, name in enumerate(group["ids"].asstr()[:])}
        missing = [name for name in ids if name not in row_of]
        if missing:
            raise InputError(
                f"'{self.path}' lacks the features of {len(missing)} of {len(ids)} objects, first '{missing[0]}'; "
                f"{REMEDY}, or set teachers.image.path and teachers.text.path to the cache of this data set"
            )
        return np.array([row_of[name] for name in ids], dtype=np.int64)

    def _count(self, what: str, wanted: int | None, available: int) -> int:
        if wanted is not None and not 1 <= wanted <= available:
            raise InputError(f"{what} is {wanted}, but '{self.path}' has {available}; use 1 to {available}, or null")
        return available if wanted is None else wanted


def made_of_hash(info: Mapping[str, str]) -> str:
    """The SHA-256 over what features were made of: teacher, transform, prompts."""
    content = {key: value for key, value in info.items() if key.startswith(MADE_OF)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def as_text(value: object) -> str:
    """How a value is noted in a cache: text as it is, anything else as JSON."""
    return str(value) if isinstance(value, str) else json.dumps(value)


def _shorten(text: str) -> str:
    return f"'{text}'" if len(text) <= 80 else f"'{text[:77]}...'"


def _read_vectors(group: h5py.Group, prefix: str, rows: np.ndarray, count: int | None = None) -> Tensor:
    """(len(rows), count, D): the rows, and of each the first vectors; float16 as stored, otherwise float32."""
    try:
        values = group[f"{prefix}features"][:, :count][rows]
        scale = group[f"{prefix}scale"][:, :count][rows] if f"{prefix}scale" in group else None
    except (OSError, KeyError) as error:
        raise InputError(f"'{group.file.filename}' is damaged: {error}; {REMEDY}") from error
    if values.dtype not in (np.int8, np.float16, np.float32):
        raise InputError(f"'{group.file.filename}' is damaged: {prefix}features are of type {values.dtype}; {REMEDY}")
    for checked in (values, scale):
        # float16 holds no larger numbers; NaN compares as false.
        if checked is None or checked.dtype.kind != "f":
            continue
        if (np.abs(checked) < (np.inf if checked.dtype == np.float16 else MAX_FEATURE)).all():
            continue
        raise InputError(f"'{group.file.filename}' is damaged: {prefix}features are no finite numbers; {REMEDY}")
    if values.dtype == np.int8:
        if scale is None:
            raise InputError(f"'{group.file.filename}' is damaged: it has no scale of its {prefix}features; {REMEDY}")
        values = values.astype(np.float32) * scale[..., None]
    return torch.from_numpy(values)
