"""One object of OpenShape's distribution: its cloud, the features of its views and of its texts, with what each is.

Shape legend: N points, V views, T texts, E width of a feature.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pointrecon.datasets.open.clouds import cloud_of
from pointrecon.utils.errors import InputError

NUM_VIEWS = 13  # a thumbnail, which Objaverse alone has, and 12 renders
KINDS = ("name", "blip", "msft", "retrieval")
CAPTIONS = ("blip", "msft")
NUM_TEXTS = 3  # that are shown in a step: a name, a caption, a retrieved caption
CHOICES = ("drawn", "published", "first")
_NAME, _BLIP, _MSFT, _RETRIEVED = range(len(KINDS))
EXPONENT, _LARGEST = np.uint16(0x7C00), 65504  # of half precision: all bits of the exponent, and its largest number


@dataclass(frozen=True)
class OpenObject:
    """An object as it is stored.

    Attributes:
        dataset: Objaverse, ShapeNet, ABO or 3D-FUTURE.
        group: Folder below it, or nothing.
        id: Its key.
        points: (N, 3) float32, +y up, not centred.
        colors: (N, 3) float32 in 0..1, or None.
        views: (V, E) float16, not of unit length; the thumbnail first where there is one.
        has_thumbnail: Whether there is one.
        texts: T texts.
        kinds: (T,) uint8 places in `KINDS`.
        text_features: (T, E) float16, not of unit length: of names and captions the mean over templates, of retrieved
            captions the caption itself.
    """

    dataset: str
    group: str
    id: str
    points: np.ndarray
    colors: np.ndarray | None
    views: np.ndarray
    has_thumbnail: bool
    texts: list[str]
    kinds: np.ndarray
    text_features: np.ndarray


def parse_object(item: Any, where: str, width: int | None = None) -> OpenObject:
    """Checks an object and takes what training needs.

    Args:
        item: The dict of its file.
        where: File and place, for messages.
        width: E that is asked for; None: whatever its views have.

    Raises:
        InputError: It lacks something, or something of it does not fit.
    """
    if not isinstance(item, Mapping):
        raise InputError(f"{where} holds a {type(item).__name__}, but an object is a dict")
    for key in ("dataset", "id", "xyz", "image_feat"):
        if key not in item:
            raise InputError(f"{where} has no '{key}'; leave it out, or download it again")
    points, colors = cloud_of(item, where)
    renders = _features(item["image_feat"], "image_feat", where, width)
    if not 1 <= len(renders) < NUM_VIEWS:
        raise InputError(f"{where} has {len(renders)} views, but 1 to {NUM_VIEWS - 1} are expected")
    width = renders.shape[1]
    thumbnail = item.get("thumbnail_feat")
    if thumbnail is not None:
        renders = np.concatenate([_features(thumbnail, "thumbnail_feat", where, width)[:1], renders])
    texts, kinds, features = _texts(item, where, width)
    return OpenObject(
        str(item["dataset"]),
        str(item.get("group") or ""),
        str(item["id"]),
        points,
        colors,
        renders,
        thumbnail is not None,
        texts,
        np.array(kinds, np.uint8),
        np.stack(features) if features else np.zeros((0, width), np.float16),
    )


def _texts(item: Mapping[str, Any], where: str, width: int) -> tuple[list[str], list[int], list[np.ndarray]]:
    """Names, captions and retrieved captions; an empty caption has a feature all the same, which does not count."""
    found: list[tuple[str, int, Any, str]] = []
    for kind, texts, features, key in (
        (0, item.get("text"), item.get("text_feat"), "prompt_avg"),
        (3, item.get("retrieval_text"), item.get("retrieval_text_feat"), "original"),
    ):
        if not texts:
            continue
        if (
            not isinstance(texts, (list, tuple))
            or not isinstance(features, (list, tuple))
            or len(texts) != len(features)
        ):
            raise InputError(f"{where} has other numbers of {KINDS[kind]} texts and of their features")
        found += [(str(text), kind, feature, key) for text, feature in zip(texts, features, strict=True)]
    for kind, name in enumerate(CAPTIONS, 1):
        caption = item.get(f"{name}_caption")
        if isinstance(caption, str) and caption:
            found.append((caption, kind, item.get(f"{name}_caption_feat"), "prompt_avg"))
    found.sort(key=lambda one: one[1])
    rows = []
    for text, kind, feature, key in found:
        if not isinstance(feature, Mapping) or key not in feature:
            raise InputError(f"{where} has no feature '{key}' of its {KINDS[kind]} text '{text[:60]}'")
        rows.append(_features(feature[key], f"{KINDS[kind]} text", where, width)[0])
    return [one[0] for one in found], [one[1] for one in found], rows


def _features(value: Any, name: str, where: str, width: int | None) -> np.ndarray:
    """(n, E) float16."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.ndim not in (1, 2) or not value.size:
        raise InputError(f"{where} has no features '{name}' of numbers")
    rows = value.reshape(-1, value.shape[-1])
    if width is not None and rows.shape[1] != width:
        raise InputError(
            f"{where} has features '{name}' of width {rows.shape[1]}, but its views or the others have {width}"
        )
    if rows.dtype == np.float16:
        is_finite = (rows.view(np.uint16) & EXPONENT).max() < EXPONENT  # a tenth of the time of np.isfinite
    else:
        is_finite = np.isfinite(rows).all()
    if not is_finite:
        raise InputError(f"{where} has features '{name}' that are not finite")
    return rows if rows.dtype == np.float16 else np.clip(rows, -_LARGEST, _LARGEST).astype(np.float16)


def choose_texts(
    kinds: np.ndarray, how: str, *, is_objaverse: bool, is_flagged: bool = False
) -> tuple[int | None, int | None, int | None]:
    """Chooses a name, a caption and a retrieved caption, from torch's global generator.

    Args:
        kinds: (t,) places in `KINDS` of an object's texts, in increasing order.
        how: `drawn`: a random name (of Objaverse's objects the first), a caption of BLIP or of MSFT, a random retrieved
            one. `published`: the coin for the captions is thrown first, so that an object with one of the two has none
            half of the time. `first`: nothing is drawn, and BLIP's caption comes before that of MSFT.
        is_objaverse: Its first name is its title; other names are the uploader's.
        is_flagged: Its names are of no use.

    Returns:
        Places among the texts; None: there is none.
    """
    starts = np.searchsorted(kinds, (0, 1, 2, 3, 4)).tolist()
    draws = [0.0] * 3 if how == "first" else torch.rand(3, dtype=torch.float64).tolist()
    name = None if is_flagged else _pick(starts, _NAME, 0.0 if is_objaverse else draws[0])
    captions = [_pick(starts, kind, 0.0) for kind in (_BLIP, _MSFT)]
    if how == "published":
        caption = captions[int(draws[1] >= 0.5)]
    else:
        there = [one for one in captions if one is not None]
        caption = there[int(draws[1] * len(there))] if there else None
    return name, caption, _pick(starts, _RETRIEVED, draws[2])


def _pick(starts: list[int], kind: int, draw: float) -> int | None:
    first, last = starts[kind], starts[kind + 1]
    return first + int(draw * (last - first)) if last > first else None
