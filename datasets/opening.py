"""A data set by its name, cut to a split: the one way in which programs open data sets."""

import inspect
import math
import numbers
import os
import typing
from collections.abc import Mapping
from dataclasses import replace
from types import NoneType, UnionType
from typing import Any

import numpy as np
from torch import Tensor

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.splits import Choice, pick, published_splits
from pointrecon.utils.errors import InputError

OWN_KEYS = ("split", "fold", "shots", "val_fraction", "seed", "way")  # a constructor may take these instead of `pick`


# What is taken for each type that a constructor names.
_KINDS = {bool: (), NoneType: (), int: (numbers.Integral,), float: (numbers.Real,), str: (str, os.PathLike)}
NUM_LOOKED_AT = 4096  # objects whose size is compared before a run starts, of a data set that does not do it itself


def open_split(
    name: str,
    root: str,
    choice: Choice,
    options: Mapping[str, Any] | None = None,
    *,
    cache_root: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> PointCloudDataset:
    """Opens a data set and keeps the objects of a split.

    Args:
        name: A registered data set, or `package.module:Name`.
        root: The data root.
        choice: Which objects.
        options: For the data set's constructor. `ratio` and `whole` are for every data set and part of the choice.
        cache_root: Folder for what a data set makes of its files, such as packed copies; None: beside them.
        defaults: Options of data sets that take them, where `options` does not have them.

    Raises:
        InputError: There is no such data set, it cannot be read, or it has no such split, folds, pictures or options.
    """
    kind = DATASETS.get(name)
    if not (isinstance(kind, type) and issubclass(kind, PointCloudDataset)):
        raise InputError(
            f"data.type is '{name}', which is no data set: its class must derive from PointCloudDataset of "
            "pointrecon.datasets.dataset"
        )
    chosen = {"root": root, **(options or {})}
    choice = replace(choice, **{key: chosen.pop(key) for key in ("ratio", "whole") if key in chosen})
    takes = inspect.signature(kind).parameters
    _check_options(kind, options or {})
    chosen = {key: value for key, value in (defaults or {}).items() if key in takes} | chosen
    own = {key: getattr(choice, key) for key in OWN_KEYS if key in takes}
    rest = replace(
        choice,
        fold=None if "fold" in own else choice.fold,
        shots=None if "shots" in own else choice.shots,
        val_fraction=0.0 if "val_fraction" in own else choice.val_fraction,
    )
    if "cache_root" in takes:
        chosen.setdefault("cache_root", cache_root)
    if "splits" in takes:
        chosen["splits"] = published_splits(kind, rest)
    if "images" not in takes and chosen.pop("images", False):
        raise InputError(f"{name} has no pictures; switch the image teacher off with teachers.image=null")
    if "way" not in takes and choice.way is not None:
        raise InputError(f"data.way is {choice.way}, but {name} has no few-shot settings; leave it at null")
    dataset = DATASETS.build({"type": name, **chosen, **own})
    if not dataset.may_pick and (rest.fold is not None or rest.shots is not None or rest.ratio < 1):
        raise InputError(
            f"fold is {rest.fold}, shots {rest.shots} and data.options.ratio {rest.ratio}, but {name} is read as it "
            "is; leave them out, or make it again of what you want"
        )
    dataset.is_training = choice.split in ("pretrain", "train")
    dataset.keep(pick(dataset, rest, is_split="split" in own))
    return dataset


def _check_options(kind: type, options: Mapping[str, Any]) -> None:
    """Holds options against the constructor, where it says that they are texts, numbers, switches or null."""
    try:
        hints = typing.get_type_hints(kind.__init__)  # type: ignore[misc]
    except (NameError, TypeError):  # of a class from outside
        return
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "null"}
    for key, value in options.items():
        hint = hints.get(key, Any)
        allowed = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, UnionType) else (hint,)
        if any(item not in words for item in allowed):
            continue
        if isinstance(value, bool) or value is None:
            fits = type(value) in allowed
        else:
            fits = any(isinstance(value, _KINDS[item]) for item in allowed)
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            what = " or ".join(words[item] for item in allowed)
            raise InputError(f"data.options.{key} is {value!r:.100}, but {kind.__name__} takes {what}")


def check_sizes(dataset: PointCloudDataset, num_points: int) -> None:
    """Looks before a run whether its clouds make batches: all of one size, with enough points.

    Args:
        dataset: One that sees to it itself (`is_uniform`) has its first object looked at; of others up to
            `NUM_LOOKED_AT` are, evenly spread.
        num_points: Points that are used of each.

    Raises:
        InputError: They do not, or an item is no `Sample`.
    """
    name, count = type(dataset).__name__, 1 if dataset.is_uniform else min(len(dataset), NUM_LOOKED_AT)
    stored, first = 0, ""
    for index in np.linspace(0, len(dataset) - 1, count).astype(int).tolist():
        sample = dataset[index]
        points = sample.get("points")
        if not isinstance(points, Tensor) or points.ndim != 2 or points.shape[1] != 3 or not points.is_floating_point():
            found = f"{tuple(points.shape)} {points.dtype}" if isinstance(points, Tensor) else type(points).__name__
            raise InputError(f"object {index} of {name} has as points {found}, but must have a float32 tensor (N, 3)")
        if not isinstance(sample.get("id"), str) or not isinstance(sample.get("label"), int):
            raise InputError(f"object {index} of {name} must have an id, which is a text, and a label, a whole number")
        if stored and len(points) != stored:
            raise InputError(
                f"the clouds of {name} differ in size: '{first}' has {stored} points and '{sample['id']}' "
                f"{len(points)}; resample them to one number, so that they make batches"
            )
        stored, first = len(points), first or sample["id"]
    if num_points > stored:
        raise InputError(
            f"data.num_points is {num_points}, but the clouds of {name} have {stored} points; give "
            f"data.num_points={stored} or less"
        )
