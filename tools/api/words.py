"""Features of words in the space of a text teacher, from the teacher if its package is installed, else from a table; of
pictures in that of an image teacher.

Shape legend: L labels, D feature width, W words.
"""

import difflib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointrecon.catalogue import CHECKOUT_WEIGHTS, WEIGHTS
from pointrecon.datasets.prompts import TEMPLATE_SETS, TEMPLATES, prompts_for, readable
from pointrecon.tools.checkpoints.pretrained import PretrainedInfo
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import check_file
from pointrecon.utils.files.json_text import parse_json
from pointrecon.utils.files.pictures import PictureError, decode_picture

UNKNOWN_TEACHER = "unknown"  # of a network whose text teacher nobody named
TABLE = "words.safetensors"  # words, and features averaged over some of the prompts, of the teacher below
TABLE_TEACHER = "all-MiniLM-L6-v2"
TABLE_WIDTH = 384


def class_features(labels: Sequence[str], info: PretrainedInfo) -> np.ndarray:
    """One direction a label.

    Args:
        labels: Names, such as "floor lamp".
        info: The network that they are compared with; its config says which text teacher it learnt from.

    Returns:
        (L, D) float32 of unit length: the mean over all prompt templates, each of unit length; centred if the network
        learnt from centred features.

    Raises:
        InputError: No label, one given twice, one that cannot be read here, or a teacher that is not known.
    """
    names = [readable(str(label)) for label in labels]
    if not names or not all(names):
        raise InputError("labels are empty; give at least one word, such as labels=['chair', 'table']")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"the label '{twice}' is given twice; give each once")
    options = (info.config.get("teachers") or {}).get("text") or {}
    if options.get("type") == UNKNOWN_TEACHER:
        raise InputError(
            f"which text network '{info.path}' was trained against is not known, so words cannot be read; give the "
            "labels' own features (label_features=...)"
        )
    is_live = options.get("type") not in (None, "CachedFeatures")
    if is_live and options.get("options", {}).get("model") != TABLE_TEACHER:
        templates = TEMPLATE_SETS[options.get("templates", "recon")]
        features = _from_teacher(names, options["type"], dict(options["options"]), templates=templates)
    else:
        try:
            features = encode_with_teacher(names)
        except InputError:
            features = _from_table(names)
    return _center(features, info) if options.get("center") else features


def encode_with_teacher(names: Sequence[str], num_prompts: int | None = None) -> np.ndarray:
    """(L, D) float32 of unit length, from the small text teacher that comes in a Python package.

    Args:
        names: L words.
        num_prompts: Templates to average over, evenly drawn; None: all.

    Raises:
        InputError: It is not installed.
    """
    return _from_teacher(names, *_offline_teacher(), num_prompts)


def _offline_teacher() -> tuple[str, dict[str, Any]]:
    from pointrecon.tools.teachers.offline import TEXT

    options = dict(item.split("=", 1) for item in TEXT)
    return options.pop("type"), options


def _from_teacher(
    names: Sequence[str],
    kind: str,
    options: dict[str, Any],
    num_prompts: int | None = None,
    templates: Sequence[str] = TEMPLATES,
) -> np.ndarray:
    teacher = _load_teacher(kind, tuple(sorted(options.items())))
    rows = []
    for name in names:
        texts = prompts_for(name, templates)
        texts = [texts[row] for row in np.linspace(0, len(texts) - 1, num_prompts or len(texts)).astype(int)]
        prompts = teacher.forward_text(texts).float()
        mean = torch.nn.functional.normalize(prompts, dim=-1).mean(dim=0)
        rows.append(torch.nn.functional.normalize(mean, dim=-1).cpu().numpy())
    return np.stack(rows)


@functools.lru_cache(maxsize=2)
def _load_teacher(kind: str, options: tuple[tuple[str, Any], ...]) -> Any:
    from pointrecon.models.teachers import TEACHERS

    teacher = TEACHERS.build({"type": kind, **dict(options)})
    return teacher.eval()


def _from_table(names: Sequence[str]) -> np.ndarray:
    words, features = load_table()
    row_of = {word: row for row, word in enumerate(words)}
    for name in names:
        if name not in row_of:
            near = difflib.get_close_matches(name, words, n=3) or ["chair", "table", "lamp"]
            raise InputError(
                f"the word '{name}' is not among the {len(words)} of the shipped table; near it are: "
                f"{', '.join(near)}; for any word run: pip install 'pointrecon[teachers]'"
            )
    return features[[row_of[name] for name in names]]


@functools.lru_cache(maxsize=1)
def load_table() -> tuple[list[str], np.ndarray]:
    """The shipped words, and their features (W, D) float32 of unit length.

    Raises:
        InputError: The table is not there, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = next((folder / TABLE for folder in (WEIGHTS, CHECKOUT_WEIGHTS) if (folder / TABLE).is_file()), None)
    if path is None:
        raise InputError(
            f"there is no table of words ('{CHECKOUT_WEIGHTS / TABLE}'), and the text teacher is not installed; run: "
            "pip install 'pointrecon[teachers]'"
        )
    try:
        with safe_open(str(path), framework="numpy") as file:
            words = parse_json((file.metadata() or {})["words"])
            features = file.get_tensor("features").astype(np.float32)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the table of words '{path}' is damaged ({error}); install the package again") from error
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    is_whole = isinstance(words, list) and all(isinstance(word, str) for word in words)
    is_whole = is_whole and features.shape == (len(words), TABLE_WIDTH) and bool(words)
    if not is_whole or not (np.isfinite(lengths) & (lengths > 0)).all():
        raise InputError(f"the table of words '{path}' is damaged; install the package again")
    return words, features / lengths


def picture_feature(picture: Any, info: PretrainedInfo) -> torch.Tensor:
    """A picture in the image teacher's space.

    Args:
        picture: A PNG, WebP or JPEG file, or an array (H, W, 3) uint8, red, green, blue.
        info: The network that it is compared with; its config says which image teacher it learnt from. Where that was
            read from a cache, it is taken for the small one that comes in a Python package.

    Returns:
        (D,) float32, centred if the network was trained so and its file says on what.

    Raises:
        InputError: The picture cannot be read, or the teacher is not installed.
    """
    from pointrecon.tools.teachers.offline import IMAGE

    section = (info.config.get("teachers") or {}).get("image") or {}
    kind, options = section.get("type"), dict(section.get("options") or {})
    if kind in (None, "CachedFeatures"):
        options = dict(item.split("=", 1) for item in IMAGE)
        kind = options.pop("type")
    teacher = _load_teacher(kind, tuple(sorted(options.items())))
    pixels = torch.from_numpy(_read_pixels(picture)).permute(2, 0, 1)[None].float() / 255
    feature: torch.Tensor = teacher.encode_image(pixels).cpu()[0]
    mean = info.feature_means.get("image") if section.get("center") else None
    return feature if mean is None or mean.shape != feature.shape else feature - mean


def _read_pixels(picture: Any) -> np.ndarray:
    if isinstance(picture, (str, Path)):
        path = check_file(Path(picture).expanduser(), "picture")
        try:
            return decode_picture(path)
        except PictureError as error:
            raise InputError(f"'{path}' is no PNG, WebP or JPEG picture ({error})") from error
    array = np.asarray(picture)
    if array.ndim != 3 or array.shape[2] < 3 or array.dtype != np.uint8:
        raise InputError(f"an array of shape {array.shape} and type {array.dtype} is no picture; give (H, W, 3) uint8")
    return np.array(array[..., :3])  # a copy: pictures opened by Pillow are read-only, which torch warns of


def _center(features: np.ndarray, info: PretrainedInfo) -> np.ndarray:
    """What a network that learnt from centred features is compared with: as in its evaluation, labels lose their mean.

    A single one has none but itself: it loses what was subtracted in training or, where the file does not say, the
    mean of the table's words.
    """
    mean = features.mean(axis=0)
    if len(features) == 1:
        known = info.feature_means.get("text")
        if known is not None and known.shape == mean.shape:
            mean = known.numpy()
        else:
            try:
                mean = load_table()[1].mean(axis=0)
            except InputError:
                return features
            if mean.shape != features[0].shape:
                return features
    features = features - mean
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
