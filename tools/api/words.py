"""Features of words in the space of a text teacher: from the teacher if its package is installed, else from a table.

Shape legend: L labels, D feature width, W words.
"""

import difflib
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pointrecon.catalogue import CHECKOUT_WEIGHTS, WEIGHTS
from pointrecon.datasets.prompts import TEMPLATE_SETS, TEMPLATES, prompts_for, readable
from pointrecon.tools.checkpoints.pretrained import PretrainedInfo
from pointrecon.utils.errors import InputError

UNKNOWN_TEACHER = "unknown"  # of a network whose text teacher nobody named
TABLE = "words.safetensors"  # words, and their features averaged over all prompts, of the teacher below
TABLE_TEACHER = "all-MiniLM-L6-v2"
TABLE_WIDTH = 384


def class_features(labels: Sequence[str], info: PretrainedInfo) -> np.ndarray:
    """One direction a label.

    Args:
        labels: Names, such as "floor lamp".
        info: The network that they are compared with; its config says which text teacher it learnt from.

    Returns:
        (L, D) float32 of unit length: the mean over all prompt templates, each of unit length.

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
        return _from_teacher(names, options["type"], dict(options["options"]), templates=templates)
    try:
        return encode_with_teacher(names)
    except InputError:
        return _from_table(names)


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
        InputError: The table is not there.
    """
    import json

    from safetensors import safe_open

    path = next((folder / TABLE for folder in (WEIGHTS, CHECKOUT_WEIGHTS) if (folder / TABLE).is_file()), None)
    if path is None:
        raise InputError(
            f"there is no table of words ('{CHECKOUT_WEIGHTS / TABLE}'), and the text teacher is not installed; run: "
            "pip install 'pointrecon[teachers]'"
        )
    with safe_open(str(path), framework="numpy") as file:
        words = json.loads(file.metadata()["words"])
        features = file.get_tensor("features").astype(np.float32)
    return words, features / np.linalg.norm(features, axis=1, keepdims=True)
