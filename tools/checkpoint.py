"""Checkpoints: written whole or not at all, read without running code, recognised by their keys.

A checkpoint is a dict with `base_model`, `optimizer`, `epoch`, `metrics`, `best_metrics` as in the published code, and
`step`, `config`, `schedule`, `precision`, `random_state` and `version`. `torch.load(..., weights_only=True)` reads it.
"""

import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.official import from_published, is_published, strip_module
from utils.errors import InputError
from utils.io import atomic_write, check_file

VERSION = 1
PARTS = ("encoder.", "decoder.", "image_proj.", "text_proj.", "contrast_head.", "head.")


@dataclass
class LoadReport:
    """What `load_weights` did, for the log."""

    path: str
    num_loaded: int
    initial: list[str]  # keys of the model that the file does not have
    ignored: list[str]  # keys of the file that the model does not have

    def __str__(self) -> str:
        text = f"{self.num_loaded} tensors from '{self.path}'"
        if self.initial:
            text += f"; random at the start: {_summarize(self.initial)}"
        if self.ignored:
            text += f"; not needed here: {_summarize(self.ignored)}"
        return text


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint beside `path` and moves it there, so that a killed run leaves the old file whole."""
    with atomic_write(path) as temporary:
        torch.save({**content, "version": VERSION}, temporary)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU, ours or a published one.

    Returns:
        The dict, with `base_model` in our key names.

    Raises:
        InputError: there is no such file, it is damaged, it holds more than tensors and plain values, or no weights.
    """
    path = check_file(path, "checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"checkpoint '{path}' is damaged, or holds objects other than tensors and plain values"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"checkpoint '{path}' ({path.stat().st_size:,} bytes) is damaged or no checkpoint") from error
    state = content.get("base_model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"'{path}' holds no weights: it must be a checkpoint with 'base_model', a dict of tensors")
    content["base_model"] = from_published(state) if is_published(state) else strip_module(state)
    return content


def load_weights(model: nn.Module, path: str | Path, may_lack: Iterable[str] = ()) -> LoadReport:
    """Copies the weights of a checkpoint into a model.

    Args:
        model: changed only if everything fits.
        path: ours or a published one.
        may_lack: prefixes of the model's keys that stay at their initial value if the file does not have them.

    Raises:
        InputError: the file cannot be read, sizes differ, or it lacks weights that it should have.
    """
    state, wanted = read_checkpoint(path)["base_model"], model.state_dict()
    shared = [key for key in wanted if key in state]
    differing = [key for key in shared if state[key].shape != wanted[key].shape]
    if differing:
        raise InputError(_describe_sizes(path, differing, state, wanted))
    initial = [key for key in wanted if key not in state]
    lacking = [key for key in initial if not key.startswith(tuple(may_lack))]
    if lacking:
        raise InputError(
            f"checkpoint '{path}' does not fit this network: it lacks {_summarize(lacking)} "
            f"(for example '{lacking[0]}'); model.depth and the other sizes must be those it was trained with"
        )
    surplus_blocks = [key for key in state if key not in wanted and key.startswith("encoder.")]
    if surplus_blocks:
        raise InputError(
            f"checkpoint '{path}' does not fit this network: it has {len(surplus_blocks)} encoder tensors more (for "
            f"example '{surplus_blocks[0]}'); model.depth must be the one it was trained with"
        )
    model.load_state_dict({key: state[key] for key in shared}, strict=False)
    return LoadReport(str(path), len(shared), initial, [key for key in state if key not in wanted])


def _describe_sizes(path: str | Path, keys: list[str], state: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    first = next((key for key in keys if key.endswith("norm.weight")), keys[0])
    return (
        f"checkpoint '{path}' is of another size: {len(keys)} tensors differ, '{first}' is {tuple(state[first].shape)} "
        f"in the file and {tuple(wanted[first].shape)} in this network; give the model.* sizes it was trained with"
    )


def _summarize(keys: list[str]) -> str:
    """Counts keys by part: `head. (8), decoder. (40)`."""
    counts: dict[str, int] = {}
    for key in keys:
        part = next((part for part in PARTS if key.startswith(part)), key)
        counts[part] = counts.get(part, 0) + 1
    return ", ".join(f"{part.rstrip('.')} ({count})" for part, count in counts.items())
